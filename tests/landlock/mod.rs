//! A sandbox for one thread of a test (landlock(7)).

use std::os::fd::{FromRawFd as _, OwnedFd};

/// What is forbidden: `struct landlock_ruleset_attr`, as far as it is used, without any exception.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Forbidden {
    files: u64,
    network: u64,
    scoped: u64,
}

/// Names of abstract Unix sockets that were bound outside (Linux 6.12).
pub(crate) const NO_NAMES: Forbidden = Forbidden { files: 0, network: 0, scoped: 1 << 0 };

/// Reading files that are not open yet.
pub(crate) const NO_READING: Forbidden = Forbidden { files: 1 << 2, network: 0, scoped: 0 };

/// Forbids it to the calling thread, and to those that it starts, from now on; false if the kernel cannot.
#[expect(unsafe_code, reason = "a sandbox that no library here makes")]
pub(crate) fn forbid(what: Forbidden) -> bool {
    // Kernels that do not know the last field take the first two.
    let size = if what.scoped == 0 { 16 } else { size_of::<Forbidden>() };
    // SAFETY: the kernel reads `size` bytes of a value that lives here; the descriptor that it gives is nobody else's, and the
    // other calls take numbers only.
    unsafe {
        let ruleset = libc::syscall(libc::SYS_landlock_create_ruleset, &raw const what, size, 0);
        let Ok(ruleset @ 0..) = i32::try_from(ruleset) else { return false };
        let _closed = OwnedFd::from_raw_fd(ruleset);
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::syscall(libc::SYS_landlock_restrict_self, ruleset, 0) == 0
    }
}
