//! Hosts of the lab: what they are joined by, and that nothing of them is left.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics has failed, as it should"
)]

mod support;

use std::io::Read;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use nix::sys::socket::{getsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};
use support::suite::{Outcome, Suite};
use usctp::lab::{Host, Lab, Link, LinkOptions, Loss, Prefix, Route, Rule, Way};

fn main() -> ExitCode {
    let mut suite = Suite::enter("lab");
    suite.in_lab("two_hosts_hear_each_other_over_both_families", hear_each_other);
    suite.in_lab("a_cut_link_is_silent_and_a_restored_one_carries_again", cut_and_restore);
    suite.in_lab("a_link_that_was_down_has_its_addresses_again", down_and_up);
    suite.in_lab("an_unreachable_route_tells_the_sender", unreachable);
    suite.in_lab("a_dead_neighbour_is_sent_to_and_never_answers", dead_neighbour);
    suite.in_lab("a_link_with_loss_loses_about_as_much_as_was_asked_for", loss);
    suite.in_lab("a_relay_loses_what_the_rule_says_and_nothing_else", rules);
    suite.in_lab("a_relay_tells_the_sender_of_packets_that_are_too_big", too_big);
    suite.in_lab("an_address_that_was_removed_is_gone_until_it_is_added", moving_addresses);
    suite.in_lab("a_lower_mtu_is_told_to_the_sender", lower_mtu);
    suite.in_lab("a_route_that_was_removed_has_no_effect", removed_route);
    suite.in_lab("a_host_is_in_a_network_of_its_own", own_network);
    suite.in_lab("programs_started_in_a_host_are_in_its_network", programs);
    suite.run()
}

fn pair(lab: &Lab, loss: Option<Loss>) -> Outcome<(Host, Host, Link)> {
    let (near, far) = (lab.host("near")?, lab.host("far")?);
    let link = near.link(
        &far,
        LinkOptions {
            name: "link0".to_owned(),
            near: vec!["10.1.0.1/24".parse()?, "fd01::1/64".parse()?],
            far: vec!["10.1.0.2/24".parse()?, "fd01::2/64".parse()?],
            mtu: None,
            loss,
        },
    )?;
    Ok((near, far, link))
}

fn socket(host: &Host, address: &str) -> Outcome<UdpSocket> {
    let address: IpAddr = address.parse()?;
    let socket = host.run(move || UdpSocket::bind((address, 7)))?;
    Ok(socket)
}

/// Whether what `from` sends arrives at `to`. The kernel asks for a neighbour again after 1 s: one that has just come up
/// may miss the first question.
fn carries(from: &UdpSocket, to: &UdpSocket) -> Outcome<bool> {
    arrives(from, to, Duration::from_secs(10))
}

/// Whether nothing arrives at `to` of what `from` sends.
fn loses(from: &UdpSocket, to: &UdpSocket) -> Outcome<bool> {
    Ok(!arrives(from, to, Duration::from_millis(500))?)
}

fn arrives(from: &UdpSocket, to: &UdpSocket, patience: Duration) -> Outcome<bool> {
    to.set_read_timeout(Some(patience))?;
    from.send_to(b"hello", to.local_addr()?)?;
    let mut buffer = [0; 16];
    Ok(to.recv_from(&mut buffer).is_ok_and(|(length, _)| &buffer[..length] == b"hello"))
}

fn hear_each_other(lab: &Lab) -> Outcome<()> {
    let (near, far, _link) = pair(lab, None)?;
    for (one, two) in [("10.1.0.1", "10.1.0.2"), ("fd01::1", "fd01::2")] {
        let (one, two) = (socket(&near, one)?, socket(&far, two)?);
        assert!(carries(&one, &two)?);
        assert!(carries(&two, &one)?);
    }
    Ok(())
}

fn cut_and_restore(lab: &Lab) -> Outcome<()> {
    let (near, far, link) = pair(lab, None)?;
    for (one, two) in [("10.1.0.1", "10.1.0.2"), ("fd01::1", "fd01::2")] {
        let (one, two) = (socket(&near, one)?, socket(&far, two)?);
        assert!(carries(&one, &two)?);
        link.cut()?;
        assert!(loses(&one, &two)? && loses(&two, &one)?);
        link.restore()?;
        assert!(carries(&one, &two)? && carries(&two, &one)?);
    }
    Ok(())
}

fn down_and_up(lab: &Lab) -> Outcome<()> {
    let (near, far, link) = pair(lab, None)?;
    link.set_up(false)?;
    assert!(host_cannot_send(&near)?);
    link.set_up(true)?;
    for (one, two) in [("10.1.0.1", "10.1.0.2"), ("fd01::1", "fd01::2")] {
        let (one, two) = (socket(&near, one)?, socket(&far, two)?);
        assert!(carries(&one, &two)?, "{two:?}");
    }
    Ok(())
}

fn host_cannot_send(host: &Host) -> Outcome<bool> {
    let socket = host.run(|| UdpSocket::bind("0.0.0.0:0"))?;
    Ok(socket.send_to(b"hello", "10.1.0.2:7").is_err())
}

fn unreachable(lab: &Lab) -> Outcome<()> {
    let (near, _far, _link) = pair(lab, None)?;
    near.route("10.9.0.0/24".parse()?, Route::Unreachable)?;
    near.route("10.8.0.0/24".parse()?, Route::Via("10.1.0.2".parse()?))?;
    let socket = socket(&near, "10.1.0.1")?;
    let refused = socket.send_to(b"hello", "10.9.0.1:7").expect_err("there is no way");
    assert_eq!(refused.kind(), std::io::ErrorKind::HostUnreachable);
    socket.send_to(b"hello", "10.8.0.1:7")?;
    Ok(())
}

fn dead_neighbour(lab: &Lab) -> Outcome<()> {
    let (near, _far, link) = pair(lab, None)?;
    let dead: IpAddr = "10.1.0.66".parse()?;
    link.near().add_dead_neighbour(dead)?;
    let socket = socket(&near, "10.1.0.1")?;
    let begun = Instant::now();
    // A host that is asked for its hardware address and does not answer would be reported after 3 s.
    socket.set_read_timeout(Some(Duration::from_millis(3500)))?;
    socket.send_to(b"hello", (dead, 7))?;
    let silence = socket.recv_from(&mut [0; 16]).expect_err("nobody is there");
    assert_eq!(silence.kind(), std::io::ErrorKind::WouldBlock);
    assert!(begun.elapsed() > Duration::from_secs(3));
    Ok(())
}

/// A raw socket: its packets have no checksum that an interface would have to fill in.
fn raw_socket(host: &Host, address: &str) -> Outcome<Socket> {
    const FOR_EXPERIMENTS: i32 = 253;
    let socket =
        host.run(|| Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(FOR_EXPERIMENTS))))?;
    socket.bind(&SocketAddr::new(address.parse()?, 0).into())?;
    socket.set_read_timeout(Some(Duration::from_millis(20)))?;
    Ok(socket)
}

fn loss(lab: &Lab) -> Outcome<()> {
    let (near, far, link) = pair(lab, Some(Loss { percent: 20.0, seed: 1 }))?;
    let (one, two) = (raw_socket(&near, "10.1.0.1")?, raw_socket(&far, "10.1.0.2")?);
    let mut arrived = 0;
    for _ in 0..1000 {
        one.send_to(b"hello", &two.local_addr()?)?;
        arrived += u32::from((&two).read(&mut [0; 64]).is_ok());
    }
    assert!((740..=860).contains(&arrived), "{arrived} of 1,000");
    let relayed = link.relayed().expect("the link has a relay");
    assert!((140..=260).contains(&relayed.lost), "{relayed:?}");
    Ok(())
}

fn rules(lab: &Lab) -> Outcome<()> {
    let (near, far, link) = pair(lab, Some(Loss::default()))?;
    let (one, two) = (raw_socket(&near, "10.1.0.1")?, raw_socket(&far, "10.1.0.2")?);
    let check = |from: &Socket, mut to: &Socket, length: usize, passes: bool, rule| {
        // The kernel asks for a neighbour again after 1 s.
        let patience = Duration::from_millis(if passes { 10_000 } else { 100 });
        to.set_read_timeout(Some(patience))?;
        from.send_to(&vec![0; length], &to.local_addr()?)?;
        assert_eq!(to.read(&mut [0; 1500]).is_ok(), passes, "{length} with {rule:?}");
        Outcome::Ok(())
    };
    // Behind an IP header of 20 bytes.
    for (rule, short, long) in [
        (None, true, true),
        (Some(Rule::LongerThan(1280)), true, false),
        (Some(Rule::Sacks), true, true),
        (Some(Rule::Everything), false, false),
        (None, true, true),
    ] {
        link.lose(Way::ToFar, rule)?;
        check(&one, &two, 1260, short, rule)?;
        check(&one, &two, 1261, long, rule)?;
        // A rule is for one way.
        check(&two, &one, 1261, true, rule)?;
    }
    let (near, far) = (lab.host("near")?, lab.host("far")?);
    let plain = near.link(&far, LinkOptions { name: "link0".to_owned(), ..Default::default() })?;
    assert!(plain.lose(Way::ToFar, Some(Rule::Everything)).is_err(), "it has no relay");
    Ok(())
}

fn too_big(lab: &Lab) -> Outcome<()> {
    let (near, _far, link) = pair(lab, Some(Loss::default()))?;
    link.lose(Way::ToFar, Some(Rule::TooBig(1300)))?;
    let socket = socket(&near, "10.1.0.1")?;
    socket.connect("10.1.0.2:7")?;
    // The kernel believes the relay, and knows better from then on.
    assert_eq!(getsockopt(&socket, sockopt::IpMtu)?, 1500);
    let begun = Instant::now();
    while getsockopt(&socket, sockopt::IpMtu)? != 1300 {
        assert!(begun.elapsed() < Duration::from_secs(20));
        // Refused once it knows: nothing is sent any more.
        let _ = socket.send(&[0; 1400]);
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

fn moving_addresses(lab: &Lab) -> Outcome<()> {
    let (near, _far, link) = pair(lab, None)?;
    for prefix in ["10.1.0.1/24".parse()?, "fd01::1/64".parse()?] {
        let Prefix { address, .. } = prefix;
        let bind = move || UdpSocket::bind((address, 0));
        near.run(bind)?;
        link.near().remove_address(prefix)?;
        assert!(near.run(bind).is_err(), "{prefix}");
        assert!(link.near().remove_address(prefix).is_err(), "{prefix}");
        link.near().add_address(prefix)?;
        near.run(bind)?;
    }
    Ok(())
}

fn lower_mtu(lab: &Lab) -> Outcome<()> {
    let (near, far, link) = pair(lab, None)?;
    let (one, two) = (raw_socket(&near, "10.1.0.1")?, raw_socket(&far, "10.1.0.2")?);
    // With its header made here, the kernel cuts no packet.
    one.set_header_included_v4(true)?;
    let mut packet = vec![0; 1400];
    packet[0] = 0x45;
    let send = || one.send_to(&packet, &two.local_addr()?);
    send()?;
    link.set_mtu(1300)?;
    assert_eq!(send().expect_err("it is too long").raw_os_error(), Some(nix::libc::EMSGSIZE));
    link.set_mtu(1500)?;
    send()?;
    Ok(())
}

fn removed_route(lab: &Lab) -> Outcome<()> {
    let (near, _far, _link) = pair(lab, None)?;
    let socket = socket(&near, "10.1.0.1")?;
    for route in [Route::Unreachable, Route::Blackhole] {
        near.route("10.1.0.2/32".parse()?, route)?;
        assert!(socket.send_to(b"hello", "10.1.0.2:7").is_err(), "{route:?}");
        near.unroute("10.1.0.2/32".parse()?, route)?;
        socket.send_to(b"hello", "10.1.0.2:7")?;
        assert!(near.unroute("10.1.0.2/32".parse()?, route).is_err(), "{route:?}");
    }
    Ok(())
}

fn own_network(lab: &Lab) -> Outcome<()> {
    let host = lab.host("alone")?;
    let inside = host.run(|| std::fs::read_link("/proc/thread-self/ns/net"))?;
    let outside = std::fs::read_link("/proc/thread-self/ns/net")?;
    assert_ne!(inside, outside);
    let thread = host.spawn("child", || std::fs::read_link("/proc/thread-self/ns/net"))?;
    assert_eq!(thread.join().expect("it does not panic")?, inside);
    Ok(())
}

fn programs(lab: &Lab) -> Outcome<()> {
    let (near, _far, _link) = pair(lab, None)?;
    let mut cat = Command::new("cat");
    cat.arg("/proc/net/dev").stdout(Stdio::piped());
    let output = near.start(cat)?.wait_with_output()?;
    let interfaces = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(interfaces.contains("link0"), "{interfaces}");
    assert_eq!(interfaces.lines().count(), 4, "{interfaces}");
    Ok(())
}
