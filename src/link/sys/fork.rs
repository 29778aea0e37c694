//! Memory that a forked child finds empty.

use std::mem;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

/// The page of this process, once it was asked for; null before. No lock is used: a child forked meanwhile would find it
/// held.
static PAGE: AtomicPtr<AtomicU64> = AtomicPtr::new(ptr::null_mut());

/// A word of this process that is 0 in every child when it is forked, however it is (madvise(2), `MADV_WIPEONFORK`); `None`
/// if the system has no such memory.
pub(crate) fn wiped_on_fork() -> Option<&'static AtomicU64> {
    let known = PAGE.load(Ordering::Acquire);
    let page = if known.is_null() { publish(map()?) } else { known };
    // SAFETY: a page that was published is mapped for as long as the process lives, in its children too, is aligned, and is
    // used through this type alone.
    Some(unsafe { &*page })
}

/// A new page of zeros.
fn map() -> Option<*mut AtomicU64> {
    let (access, kind) =
        (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a new mapping where the kernel likes, which touches no memory in use.
    let page = unsafe { libc::mmap(ptr::null_mut(), LEN, access, kind, -1, 0) };
    if page == libc::MAP_FAILED {
        return None;
    }
    // SAFETY: the page was mapped just now, and nobody else knows of it.
    if unsafe { libc::madvise(page, LEN, libc::MADV_WIPEONFORK) } != 0 {
        unmap(page);
        return None;
    }
    Some(page.cast())
}

/// Makes a page that of the process, unless another thread was faster.
fn publish(page: *mut AtomicU64) -> *mut AtomicU64 {
    match PAGE.compare_exchange(ptr::null_mut(), page, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => page,
        Err(known) => {
            unmap(page.cast());
            known
        }
    }
}

fn unmap(page: *mut libc::c_void) {
    // SAFETY: only for a page of `map` that was not published: there are no references to it.
    unsafe { libc::munmap(page, LEN) };
}

/// Bytes asked for: the kernel makes a page of it.
const LEN: usize = mem::size_of::<AtomicU64>();
