//! The stack where little is allowed: as a user with one capability alone, and behind a filter of system calls.

#![allow(clippy::unwrap_used, reason = "what goes wrong fails the test")]

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use usctp::{Association, Message, Options, Socket, Stack};

use self::alone::{in_process_by, in_process_of_its_own};
use self::namespace::in_namespace;

mod alone;
mod namespace;

/// Longer than anything here takes, on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(20);
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 1));
const SERVER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
/// The user, and the group, that has nothing.
const NOBODY: u32 = 65_534;
/// Bit of the one capability that raw sockets need (linux/capability.h).
const CAP_NET_RAW: u32 = 1 << 13;

/// Becomes another user, if that is asked for, with one capability alone; threads started from now on are the same.
#[expect(unsafe_code, reason = "no library changes the calling thread alone")]
fn keep_cap_net_raw_alone(user: Option<u32>) {
    let done = |result: libc::c_long| {
        assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
    };
    // SAFETY: numbers only, but for a header and the two halves of a set of each kind, which live in this frame
    // (capset(2), version 3).
    unsafe {
        if let Some(user) = user {
            done(libc::prctl(libc::PR_SET_KEEPCAPS, 1, 0, 0, 0).into());
            done(libc::syscall(libc::SYS_setgroups, 0, std::ptr::null::<u32>()));
            done(libc::syscall(libc::SYS_setresgid, user, user, user));
            done(libc::syscall(libc::SYS_setresuid, user, user, user));
        }
        let header = [0x2008_0522_u32, 0];
        let sets = [[CAP_NET_RAW, CAP_NET_RAW, 0], [0; 3]];
        done(libc::syscall(libc::SYS_capset, header.as_ptr(), sets.as_ptr()));
    }
}

/// Loses one of a hundred SCTP packets that come in; false where the machine cannot.
fn lose_one_percent() -> bool {
    let rules = "table inet loss {\nchain input {\ntype filter hook input priority 0;\n\
                 meta l4proto 132 numgen random mod 100 < 1 counter drop\n}\n}\n";
    let nft = Command::new("nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn();
    let is_losing = nft.is_ok_and(|mut nft| {
        nft.stdin.take().unwrap().write_all(rules.as_bytes()).unwrap();
        nft.wait().unwrap().success()
    });
    if !is_losing {
        println!("SKIPPED: loss needs nft, and a kernel that has it");
    }
    is_losing
}

/// What the system gives to sockets without the capability CAP_NET_ADMIN, if it says so in this namespace.
fn limit(name: &str, wanted: usize) -> Option<usize> {
    let text = std::fs::read_to_string(format!("/proc/sys/net/core/{name}")).ok()?;
    Some(text.trim().parse::<usize>().unwrap().min(wanted))
}

/// Two stacks in this process, and an association between them.
struct Pair {
    server: Socket,
    client: Socket,
    association: Association,
    accepted: Association,
    stack: Stack,
    server_stack: Stack,
}

impl Pair {
    fn raw() -> Self {
        Self::of(Stack::builder().raw().open().unwrap(), Stack::builder().raw().open().unwrap())
    }

    fn udp() -> Self {
        let server_stack = Stack::builder().udp(0).open().unwrap();
        let port = server_stack.udp_port().unwrap();
        Self::of(server_stack, Stack::builder().udp(0).udp_peer(port).open().unwrap())
    }

    fn of(server_stack: Stack, stack: Stack) -> Self {
        let mut options = Options::default();
        // What is lost at the end of a flight costs no second.
        options.rto.min = Duration::from_millis(50);
        options.rto.initial = Duration::from_millis(200);
        let server = server_stack.bind(0, &[SERVER], options.clone()).unwrap();
        server.listen().unwrap();
        let client = stack.bind(0, &[CLIENT], options).unwrap();
        let (association, accepted) = connect(&client, &server);
        Self { server, client, association, accepted, stack, server_stack }
    }

    /// So many messages of a thousand bytes arrive once and in order, and the transfer ends.
    fn transfer(&self, count: u32) {
        thread::scope(|scope| {
            scope.spawn(|| {
                for number in 0..count {
                    let payload = number.to_be_bytes().repeat(250);
                    self.association.send_timeout(Message::new(0, payload), PATIENCE).unwrap();
                }
            });
            for number in 0..count {
                let message = self.accepted.recv_timeout(PATIENCE).unwrap().unwrap();
                assert_eq!(message.payload, number.to_be_bytes().repeat(250));
            }
        });
    }

    fn exchange(&self, count: u32) {
        for number in 0..count {
            exchange(&self.association, &self.accepted, &number.to_string());
        }
    }
}

fn connect(client: &Socket, server: &Socket) -> (Association, Association) {
    let mut connecting = client.connect(SocketAddr::new(SERVER, server.port())).unwrap();
    let association = connecting.wait_timeout(PATIENCE).unwrap();
    (association, server.accept_timeout(PATIENCE).unwrap())
}

fn exchange(one: &Association, other: &Association, text: &str) {
    for (from, to) in [(one, other), (other, one)] {
        from.send_timeout(Message::new(0, text.to_owned()), PATIENCE).unwrap();
        assert_eq!(to.recv_timeout(PATIENCE).unwrap().unwrap().payload, text);
    }
}

/// What a stack with raw links does as this user, in a namespace of its own.
fn with_cap_net_raw_alone(user: Option<u32>) {
    in_namespace(move || {
        // Many packets, of which some are lost.
        namespace::ip("link set lo mtu 1500");
        if !lose_one_percent() {
            return;
        }
        keep_cap_net_raw_alone(user);
        let pair = Pair::raw();
        let buffers = pair.stack.statistics().buffers.unwrap();
        let is = |bytes: usize, limit: Option<usize>| limit.is_none_or(|limit| bytes == limit);
        assert!(is(buffers.receive, limit("rmem_max", 16 << 20)), "{buffers:?}");
        assert!(is(buffers.send, limit("wmem_max", 4 << 20)), "{buffers:?}");
        pair.transfer(4_000);
        pair.exchange(100);
        assert!(pair.association.statistics().data_chunks_retransmitted > 0, "nothing was lost");
        pair.association.shutdown_timeout(PATIENCE).unwrap();
    });
}

#[test]
fn another_user_with_cap_net_raw_alone_transfers_and_exchanges_over_a_lossy_path() {
    if in_process_of_its_own(
        "another_user_with_cap_net_raw_alone_transfers_and_exchanges_over_a_lossy_path",
    ) {
        with_cap_net_raw_alone(Some(NOBODY));
    }
}

#[test]
fn in_a_user_namespace_cap_net_raw_alone_is_enough_for_a_transfer_and_exchanges() {
    // The user is nobody outside, and has all capabilities inside until they are dropped.
    let mut unshare = Command::new("unshare");
    unshare.uid(NOBODY).gid(NOBODY).args(["--user", "--map-root-user", "--net", "--"]);
    let mut probe = Command::new("unshare");
    probe.uid(NOBODY).gid(NOBODY).args(["--user", "--map-root-user", "--net", "--"]);
    let this = std::env::current_exe().unwrap();
    unshare.arg(&this);
    let is_child = std::env::var_os("USCTP_TEST_OWN_PROCESS").is_some();
    if !is_child && !probe.arg(&this).arg("--list").output().is_ok_and(|out| out.status.success()) {
        println!(
            "SKIPPED: a user namespace needs root here, a kernel that allows it and `unshare`"
        );
        return;
    }
    if in_process_by(
        unshare,
        "in_a_user_namespace_cap_net_raw_alone_is_enough_for_a_transfer_and_exchanges",
    ) {
        with_cap_net_raw_alone(None);
    }
}

/// System calls that an open stack has no use for. The number of those that other architectures lack is not named.
const NEEDLESS: &[libc::c_long] = &[
    libc::SYS_socket,
    libc::SYS_socketpair,
    libc::SYS_bind,
    libc::SYS_connect,
    libc::SYS_listen,
    libc::SYS_accept4,
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_fcntl,
    libc::SYS_ioctl,
    libc::SYS_pipe2,
    libc::SYS_eventfd2,
    libc::SYS_epoll_create1,
    libc::SYS_memfd_create,
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_setns,
    libc::SYS_unshare,
];

/// From now on no thread of this process may make a call that is needless: it is refused with EPERM.
fn forbid_needless() {
    use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter_all_threads};
    let rules = NEEDLESS.iter().map(|call| (*call, Vec::new())).collect();
    let (otherwise, matched) = (SeccompAction::Allow, SeccompAction::Errno(1));
    let architecture = std::env::consts::ARCH.try_into().unwrap();
    let filter = SeccompFilter::new(rules, otherwise, matched, architecture).unwrap();
    apply_filter_all_threads(&BpfProgram::try_from(filter).unwrap()).unwrap();
    assert!(UdpSocket::bind("127.0.0.1:0").is_err(), "sockets can be opened");
}

/// All that an application does with stacks that were opened before, and what it is told of what cannot be.
fn live_behind_a_filter(pair: &Pair) {
    let spare = pair.stack.bind(0, &[CLIENT], Options::default()).unwrap();
    forbid_needless();
    pair.transfer(500);
    // Longer than an answer of routing is believed.
    thread::sleep(Duration::from_secs(2));
    pair.exchange(20);
    let (second, other) = connect(&spare, &pair.server);
    exchange(&second, &other, "a new one");
    second.shutdown_timeout(PATIENCE).unwrap();
    for opened in [Stack::builder().udp(0).open(), Stack::builder().raw().open()] {
        let refused = opened.unwrap_err();
        assert!(refused.is_permission_denied(), "{refused:?}");
    }
    // A port is claimed among the processes of the host, which takes a descriptor.
    let refused = pair.stack.bind(0, &[CLIENT], Options::default()).unwrap_err();
    assert!(refused.is_permission_denied(), "{refused:?}");
    pair.association.shutdown_timeout(PATIENCE).unwrap();
    pair.client.close();
    for stack in [&pair.stack, &pair.server_stack] {
        assert_eq!(stack.statistics().links.refused, 0);
    }
}

#[test]
fn behind_a_filter_of_system_calls_associations_over_udp_live_on_and_new_ones_are_set_up() {
    if in_process_of_its_own(
        "behind_a_filter_of_system_calls_associations_over_udp_live_on_and_new_ones_are_set_up",
    ) {
        live_behind_a_filter(&Pair::udp());
    }
}

#[test]
fn behind_a_filter_of_system_calls_associations_over_ip_live_on_and_new_ones_are_set_up() {
    if in_process_of_its_own(
        "behind_a_filter_of_system_calls_associations_over_ip_live_on_and_new_ones_are_set_up",
    ) {
        in_namespace(|| live_behind_a_filter(&Pair::raw()));
    }
}
