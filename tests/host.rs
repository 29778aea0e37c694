//! Ports and addresses of a host, each test in a network namespace of its own (SKIPPED: without root).

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "what goes wrong fails the test")]

use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::time::{Duration, Instant};

use usctp::address::{self, Wildcard};
use usctp::link::{LinkError, Links};
use usctp::port::{self, Carrier, Place, Port, Responder};
use usctp::{Options, Stack};

use self::landlock::{NO_NAMES, NO_READING, forbid};
use self::namespace::{in_namespace, ip};

mod landlock;
mod namespace;

fn addresses(list: &[&str]) -> Vec<IpAddr> {
    list.iter().map(|address| address.parse().unwrap()).collect()
}

/// Claims a port on all addresses.
fn claim(carrier: Carrier, number: u16) -> Result<Port, LinkError> {
    Port::claim(carrier, number, Place::All)
}

fn is_claimed(carrier: Carrier, number: u16) -> bool {
    port::is_claimed(carrier, number, IpAddr::V4(Ipv4Addr::LOCALHOST))
}

/// Waits for what follows from a name that was given up: a child that another test is just starting may hold a copy of
/// its socket for a moment.
fn soon(what: &str, is_so: impl Fn() -> bool) {
    let mut patience = 4_000;
    while !is_so() {
        patience -= 1;
        assert!(patience > 0, "not within 20 s: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Two interfaces as a multi-homed host has them.
fn two_interfaces() {
    for (name, v4, v6) in [("one", "10.1.0.1", "fd01::1"), ("two", "198.51.100.1", "2001:db8::1")] {
        ip(&format!("link add {name} type veth peer name peer-{name}"));
        ip(&format!("addr add {v4}/24 dev {name}"));
        ip(&format!("addr add {v6}/64 dev {name} nodad"));
        ip(&format!("link set {name} up"));
        ip(&format!("link set peer-{name} up"));
    }
}

#[test]
fn a_port_belongs_to_one_until_it_is_dropped() {
    in_namespace(|| {
        let port = claim(Carrier::Ip, 5000).unwrap();
        assert_eq!(port.number(), 5000);
        let again = claim(Carrier::Ip, 5000);
        assert!(matches!(again, Err(LinkError::AddressInUse { port: 5000 })), "{again:?}");
        assert!(is_claimed(Carrier::Ip, 5000) && !is_claimed(Carrier::Ip, 5001));
        // The ports behind a UDP port are a space of their own.
        assert!(!is_claimed(Carrier::Udp(9899), 5000));
        let encapsulated = claim(Carrier::Udp(9899), 5000).unwrap();
        drop(port);
        soon("the port is free", || !is_claimed(Carrier::Ip, 5000));
        drop(claim(Carrier::Ip, 5000).unwrap());
        drop(encapsulated);
    });
}

#[test]
fn a_port_that_a_sandbox_forbids_to_ask_for_is_taken_to_be_claimed() {
    in_namespace(|| {
        let _port = claim(Carrier::Ip, 5000).unwrap();
        let asked = std::thread::spawn(|| {
            forbid(NO_NAMES).then(|| {
                let _own = claim(Carrier::Ip, 5002).unwrap();
                [5000, 5001, 5002].map(|number| is_claimed(Carrier::Ip, number))
            })
        });
        // Who is outside of the sandbox sees nothing of it.
        match asked.join().unwrap() {
            Some(claimed) => assert_eq!(claimed, [true, false, true]),
            None => {
                println!("SKIPPED: the kernel has no Landlock that scopes abstract Unix sockets");
            }
        }
    });
}

#[test]
fn who_may_not_look_for_other_users_of_sctp_answers_no_strangers() {
    in_namespace(|| {
        if !forbid(NO_READING) {
            println!("SKIPPED: the kernel has no Landlock");
            return;
        }
        assert!(!port::kernel_speaks_sctp(), "what cannot be known is not told as known");
        assert!(Responder::claim().is_none());
        let stack = Stack::builder().raw().open().unwrap();
        assert!(!refuses(&stack));
    });
}

#[test]
fn a_port_is_claimed_for_each_address_and_what_overlaps_is_refused() {
    in_namespace(|| {
        let all = addresses(&["10.1.0.1", "10.1.0.2", "fd01::1"]);
        let on = |place| Port::claim(Carrier::Ip, 5000, place);
        let in_use = |place| matches!(on(place), Err(LinkError::AddressInUse { port: 5000 }));
        let mut one = on(Place::Addresses(&all[..1])).unwrap();
        let two = on(Place::Addresses(&all[1..2])).unwrap();
        assert!(in_use(Place::Addresses(&all[..1])));
        assert!(in_use(Place::Addresses(&all[1..])), "one of them is taken");
        assert!(in_use(Place::All));
        let claimed = || all.iter().map(|own| port::is_claimed(Carrier::Ip, 5000, *own));
        assert!(claimed().eq([true, true, false]));
        assert!(one.add(&all[1..]).is_err());
        assert!(claimed().eq([true, true, false]), "all of them or none");
        one.add(&all[2..]).unwrap();
        assert!(in_use(Place::Addresses(&all[2..])));
        drop((one, two));
        soon("they are free", || claimed().eq([false, false, false]));
        let whole = on(Place::All).unwrap();
        assert!(in_use(Place::Addresses(&all[..1])) && in_use(Place::All));
        assert!(claimed().eq([true, true, true]));
        drop(whole);
        soon("it is free", || claimed().eq([false, false, false]));
    });
}

#[test]
fn network_namespaces_do_not_share_ports() {
    in_namespace(|| {
        let _port = claim(Carrier::Ip, 5000).unwrap();
        in_namespace(|| {
            claim(Carrier::Ip, 5000).unwrap();
        });
    });
}

#[test]
fn ephemeral_ports_are_random_and_different() {
    in_namespace(|| {
        let ports: Vec<Port> = (0..200).map(|_| claim(Carrier::Ip, 0).unwrap()).collect();
        let mut numbers: Vec<u16> = ports.iter().map(Port::number).collect();
        assert!(numbers.iter().all(|number| *number >= 49_152));
        assert!(!numbers.is_sorted(), "in order: {numbers:?}");
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), 200);
    });
}

#[test]
fn one_process_answers_what_is_out_of_the_blue() {
    in_namespace(|| {
        if port::kernel_speaks_sctp() {
            assert!(Responder::claim().is_none());
            println!("SKIPPED: the kernel speaks SCTP, so nobody has the role");
            return;
        }
        let responder = Responder::claim().unwrap();
        assert!(Responder::claim().is_none());
        drop(responder);
        soon("the role is free", || Responder::claim().is_some());
    });
}

/// Whether a stack refuses peers at a port of nobody, before the peer gives up.
fn refuses(stack: &Stack) -> bool {
    let socket = stack.bind(0, &addresses(&["127.0.0.1"]), Options::default()).unwrap();
    let mut connecting = socket.connect("127.0.0.1:4999".parse().unwrap()).unwrap();
    match connecting.wait_timeout(Duration::from_millis(500)) {
        Err(error) if error.is_refused() => true,
        Err(usctp::Error::TimedOut) => false,
        other => panic!("{other:?}"),
    }
}

#[test]
fn nobody_answers_for_ports_of_nobody_while_another_program_has_sctp_of_its_own() {
    for domain in [socket2::Domain::IPV4, socket2::Domain::IPV6] {
        in_namespace(move || {
            if port::kernel_speaks_sctp() {
                println!("SKIPPED: the kernel speaks SCTP, so nobody has the role");
                return;
            }
            let first = Stack::builder().raw().open().unwrap();
            soon("it takes the role", || refuses(&first));
            // Other processes of this library do not count.
            let second = Stack::builder().raw().open().unwrap();
            assert!(refuses(&second) && refuses(&first));
            let kind = (domain, socket2::Type::RAW, Some(socket2::Protocol::from(132)));
            let other = socket2::Socket::new(kind.0, kind.1, kind.2).unwrap();
            let before = first.statistics().out_of_the_blue_answered;
            assert!(!refuses(&second), "there is one that came later");
            assert_eq!(first.statistics().out_of_the_blue_answered, before);
            drop((first, second));
            let third = Stack::builder().raw().open().unwrap();
            assert!(!refuses(&third), "there is one that was there before");
            drop(other);
            // It is asked again after ten seconds.
            if domain == socket2::Domain::IPV4 {
                soon("it is answered again", || refuses(&third));
            }
        });
    }
}

#[test]
fn who_is_told_not_to_answers_no_strangers() {
    in_namespace(|| {
        let stack = Stack::builder().raw().udp(9899).answer_strangers(false).open().unwrap();
        assert!(!refuses(&stack));
        let peer = Stack::builder().udp(9900).udp_peer(9899).open().unwrap();
        assert!(!refuses(&peer), "nor over UDP");
        assert_eq!(stack.statistics().out_of_the_blue_answered, 0);
    });
}

#[test]
fn when_the_process_that_answers_for_ports_of_nobody_ends_an_idle_one_takes_its_place() {
    in_namespace(|| {
        if port::kernel_speaks_sctp() {
            println!("SKIPPED: the kernel speaks SCTP, so nobody has the role");
            return;
        }
        let first = Stack::builder().raw().open().unwrap();
        soon("the role is taken", || Responder::claim().is_none());
        let second = Stack::builder().raw().open().unwrap();
        let _idle = second.bind(5001, &[], Options::default()).unwrap();
        // It asks when it first goes to sleep, and then every 10 s. Nothing that comes wakes it: it hears its own port only.
        std::thread::sleep(Duration::from_millis(500));
        drop(first);
        let end = Instant::now() + Duration::from_secs(25);
        while Responder::claim().is_some() {
            assert!(Instant::now() < end, "nobody answers");
            std::thread::sleep(Duration::from_millis(500));
        }
    });
}

#[test]
fn a_wildcard_stands_for_what_others_can_reach() {
    in_namespace(|| {
        let loopback = addresses(&["127.0.0.1", "::1"]);
        assert_eq!(address::wildcard(Wildcard::default()), loopback, "there is nothing else");
        two_interfaces();
        ip("addr add 169.254.7.7/16 dev one");
        let ordinary = addresses(&["10.1.0.1", "fd01::1", "198.51.100.1", "2001:db8::1"]);
        let sorted = |mut list: Vec<IpAddr>| {
            list.sort_unstable();
            list
        };
        let expected = sorted(ordinary.clone());
        assert_eq!(sorted(address::wildcard(Wildcard::default())), expected);
        let all = address::wildcard(Wildcard { loopback: true, link_local: false });
        assert_eq!(sorted(all), sorted([ordinary.clone(), loopback].concat()));
        let all = address::wildcard(Wildcard { loopback: false, link_local: true });
        assert!(all.contains(&"169.254.7.7".parse().unwrap()));
        ip("link set two down");
        let left = address::wildcard(Wildcard::default());
        assert!(!left.contains(&ordinary[2]) && left.contains(&ordinary[0]), "{left:?}");
    });
}

#[test]
fn local_addresses_are_told_from_others() {
    in_namespace(|| {
        two_interfaces();
        for local in ["10.1.0.1", "2001:db8::1", "127.0.0.1", "127.3.2.1", "::1"] {
            assert!(address::is_local(local.parse().unwrap()), "{local}");
        }
        for other in ["10.1.0.2", "2001:db8::2", "0.0.0.0", "::", "224.0.0.1", "ff02::1"] {
            assert!(!address::is_local(other.parse().unwrap()), "{other}");
        }
    });
}

#[test]
fn the_source_is_routings_choice_as_far_as_it_is_allowed() {
    in_namespace(|| {
        two_interfaces();
        let source = |destination: &str, allowed: &[&str]| {
            let chosen = address::source_for(destination.parse().unwrap(), &addresses(allowed));
            chosen.map(|address| address.to_string())
        };
        assert_eq!(source("10.1.0.9", &[]).as_deref(), Some("10.1.0.1"));
        assert_eq!(source("198.51.100.9", &[]).as_deref(), Some("198.51.100.1"));
        assert_eq!(source("2001:db8::9", &[]).as_deref(), Some("2001:db8::1"));
        let both = ["198.51.100.1", "10.1.0.1"];
        assert_eq!(source("10.1.0.9", &both).as_deref(), Some("10.1.0.1"));
        // Routing would take the other: the one that is bound is used all the same.
        let bound = ["2001:db8::1", "198.51.100.1"];
        assert_eq!(source("10.1.0.9", &bound).as_deref(), Some("198.51.100.1"));
        assert_eq!(source("10.1.0.9", &["2001:db8::1"]), None, "the other family alone");
        assert_eq!(source("10.1.0.9", &["127.0.0.1"]), None, "no answer could come back");
        assert_eq!(source("10.1.0.1", &["127.0.0.1"]).as_deref(), Some("127.0.0.1"));
        assert_eq!(source("203.0.113.1", &[]), None, "no route");
    });
}

#[test]
fn the_kernel_says_the_same_of_a_link_whether_it_is_asked_or_connected_to() {
    in_namespace(|| {
        two_interfaces();
        ip("link set one mtu 1400");
        ip("route add 192.0.2.0/24 via 10.1.0.9 mtu lock 1300");
        ip("route add 2001:db8:2::/64 via 2001:db8::9 mtu 1290");
        ip("route add unreachable 192.0.3.0/24");
        ip("route add prohibit 192.0.4.0/24");
        ip("route add blackhole 192.0.5.0/24");
        ip("route add unreachable 2001:db8:3::/64");
        // Without a watch, a socket is connected to find it out.
        let (connecting, mut asking) = (Links::new(), Links::new());
        asking.watch_addresses();
        for (destination, source, mtu) in [
            ("10.1.0.9", None, Some(1400)),
            ("10.1.0.9", Some("10.1.0.1"), Some(1400)),
            ("10.1.0.9", Some("198.51.100.1"), Some(1400)),
            ("10.1.0.9", Some("198.51.100.2"), None),
            ("198.51.100.9", None, Some(1500)),
            ("2001:db8::9", None, Some(1500)),
            ("fd01::9", None, Some(1400)),
            ("192.0.2.9", None, Some(1300)),
            ("2001:db8:2::9", None, Some(1290)),
            ("127.0.0.9", None, Some(65_535)),
            ("::1", None, Some(65_536)),
            ("10.1.0.1", None, Some(65_535)),
            ("192.0.3.1", None, None),
            ("192.0.4.1", None, None),
            ("192.0.5.1", None, None),
            ("2001:db8:3::1", None, None),
            ("203.0.113.1", None, None),
            ("2001:db8:4::1", None, None),
            ("fe80::1", None, None),
        ] {
            let (to, from) = (destination.parse().unwrap(), source.map(|own| own.parse().unwrap()));
            let [said, seen] =
                [&asking, &connecting].map(|links| links.mtu_towards(to, 0, from).unwrap());
            // What the loopback interface takes is more than a packet has.
            let most = |mtu: Option<u32>| mtu.map(|mtu| mtu.min(65_535));
            assert_eq!(most(said), most(mtu), "{destination} from {source:?}");
            assert_eq!(most(seen), most(mtu), "{destination} from {source:?}, connected");
        }
    });
}

/// Runs itself again as a user without privileges.
#[test]
fn without_the_capability_the_error_names_it_and_the_ways_out() {
    const CHILD: &str = "USCTP_TEST_UNPRIVILEGED";
    if std::env::var_os(CHILD).is_some() {
        let error = Links::new().open_raw().unwrap_err();
        assert!(matches!(error, LinkError::NoPermission), "{error:?}");
        for hint in ["CAP_NET_RAW", "setcap cap_net_raw+ep", "UDP encapsulation"] {
            assert!(error.to_string().contains(hint), "{error}");
        }
        // The way out needs nothing.
        Links::new().open_udp(0).unwrap();
        return;
    }
    let name = "without_the_capability_the_error_names_it_and_the_ways_out";
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", name]).env(CHILD, "1").current_dir("/").uid(65_534).gid(65_534);
    match child.output() {
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success(), "{said}");
            assert!(said.contains("1 passed"), "{said}");
        }
        Err(error) => println!("SKIPPED: not allowed to run as another user: {error}"),
    }
}
