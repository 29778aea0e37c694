//! `connectx` over raw sockets between hosts of the lab: over IPv4, over IPv6, and with one address of each.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics has failed, as it should"
)]

mod support;

use std::io::Read;
use std::net::{IpAddr, SocketAddr};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use support::ours::{SOON, program};
use support::suite::{Outcome, Suite};
use usctp::lab::{Host, Lab, Link, LinkOptions, Prefix, Route};
use usctp::{
    ActiveReason, AddressChange, Association, ConnectOptions, Event, LostReason, Message, MovedOn,
    OnRefused, Options, PathState, RemovedReason, Socket, Stack,
};

const PORT: u16 = 7000;

fn main() -> ExitCode {
    let mut suite = Suite::enter("connectx");
    // Nearly all of it is waiting.
    suite.at_a_time = 4;
    for (name, mix) in [("ipv4", Mix::V4), ("ipv6", Mix::V6), ("both_families", Mix::Both)] {
        let mut add = |what: &str, test: fn(&Lab, Mix) -> Outcome<()>| {
            suite.in_lab(format!("{what}_over_{name}"), move |lab| test(lab, mix));
        };
        add("a_first_address_that_answers_is_the_only_one_tried", first_only);
        add("a_dead_first_address_is_left_for_the_second_one", dead_first);
        add("an_address_that_init_ack_omits_is_dropped", subset);
        add("an_address_that_only_the_peer_lists_is_confirmed_by_a_nonce", superset);
        add("an_address_without_a_route_is_left_at_once", unreachable);
        add("a_race_finds_the_address_that_answers_before_any_time_out", race);
    }
    suite.in_lab("a_host_without_sctp_is_left_if_the_caller_wants_it", without_sctp);
    suite.in_lab("the_program_tells_each_step_as_json", each_step_as_json);
    suite.run()
}

/// The families of the two addresses that a host has here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mix {
    V4,
    V6,
    Both,
}

impl Mix {
    /// The address of a host on the first or the second link.
    fn address(self, link: u8, host: u8) -> IpAddr {
        let v6 = self == Self::V6 || (self == Self::Both && link == 1);
        if v6 { six(link, host) } else { four(link, host) }
    }
}

fn four(link: u8, host: u8) -> IpAddr {
    IpAddr::from([10, link, 0, host])
}

fn six(link: u8, host: u8) -> IpAddr {
    IpAddr::from([0xfd00, link.into(), 0, 0, 0, 0, 0, host.into()])
}

/// Our host and theirs, joined by two links, with a stack and a socket on each; theirs listens.
struct Stage {
    ours: Host,
    links: Vec<Link>,
    client: Socket,
    server: Socket,
    mix: Mix,
    _stacks: [Stack; 2],
    _theirs: Host,
}

impl Stage {
    /// Their socket has the addresses of these links only.
    fn new(lab: &Lab, mix: Mix, theirs_on: &[u8], options: Options) -> Outcome<Self> {
        let (ours, theirs) = (lab.host("ours")?, lab.host("theirs")?);
        let links = join(&ours, &theirs)?;
        ours.adopt_thread()?;
        let (stack, client) =
            open(&ours, vec![mix.address(1, 1), mix.address(2, 1)], 0, options.clone())?;
        let bound = theirs_on.iter().map(|link| mix.address(*link, 2)).collect();
        let (their_stack, server) = open(&theirs, bound, PORT, options)?;
        server.listen()?;
        Ok(Self {
            ours,
            links,
            client,
            server,
            mix,
            _stacks: [stack, their_stack],
            _theirs: theirs,
        })
    }

    fn first(&self) -> IpAddr {
        self.mix.address(1, 2)
    }

    fn second(&self) -> IpAddr {
        self.mix.address(2, 2)
    }

    /// An address of the first link that nobody has.
    fn dead(&self) -> Outcome<IpAddr> {
        let dead = self.mix.address(1, 9);
        self.links[0].near().add_dead_neighbour(dead)?;
        Ok(dead)
    }

    /// Connects, and gives the association with what happened until it was up.
    fn connect(
        &self,
        list: &[IpAddr],
        options: ConnectOptions,
    ) -> Outcome<(Association, Vec<Event>)> {
        let list: Vec<_> = list.iter().map(|peer| SocketAddr::new(*peer, PORT)).collect();
        let connecting = self.client.connectx(&list, options)?;
        let mut events = Vec::new();
        while !matches!(events.last(), Some(Event::CommUp { .. })) {
            events.push(connecting.event_timeout(SOON)?);
            assert!(!matches!(events.last(), Some(Event::CommLost(_))), "{events:?}");
        }
        Ok((connecting.detach(), events))
    }

    /// A message there and back, and a graceful close.
    fn use_and_close(&self, association: &Association) -> Outcome<()> {
        let theirs = self.server.accept_timeout(SOON)?;
        association.send_timeout(Message::new(0, "there"), SOON)?;
        let there = theirs.recv_timeout(SOON)?.ok_or("it was closed")?;
        assert_eq!(there.payload, "there");
        theirs.send_timeout(Message::new(0, "back"), SOON)?;
        assert_eq!(association.recv_timeout(SOON)?.ok_or("it was closed")?.payload, "back");
        Ok(association.shutdown_timeout(SOON)?)
    }
}

fn join(ours: &Host, theirs: &Host) -> Outcome<Vec<Link>> {
    let link = |number: u8| -> Outcome<Link> {
        let prefixes =
            |host| vec![Prefix::new(four(number, host), 24), Prefix::new(six(number, host), 64)];
        let options = LinkOptions {
            name: format!("link{number}"),
            near: prefixes(1),
            far: prefixes(2),
            ..LinkOptions::default()
        };
        Ok(ours.link(theirs, options)?)
    };
    [1, 2].into_iter().map(link).collect()
}

fn open(
    host: &Host,
    addresses: Vec<IpAddr>,
    port: u16,
    options: Options,
) -> Outcome<(Stack, Socket)> {
    let opened = host.run(move || {
        let stack = Stack::builder().raw().open()?;
        let socket = stack.bind(port, &addresses, options)?;
        Ok::<_, usctp::Error>((stack, socket))
    });
    Ok(opened?)
}

/// Shorter than RFC 9260 advises, so that no test takes long.
fn quick() -> Options {
    let mut options = Options::default();
    options.rto.min = Duration::from_millis(200);
    options.rto.initial = Duration::from_secs(1);
    options.heartbeat.interval = Some(Duration::from_millis(500));
    options
}

/// Nothing times out while a test waits for it: what happens, happens for another reason.
fn patient() -> Options {
    let mut options = Options::default();
    options.rto.initial = options.rto.max;
    options
}

fn dropped(peer: IpAddr) -> Event {
    let change = AddressChange::Removed(RemovedReason::NotInInitAck);
    Event::PeerAddressChange { peer, change }
}

fn primary(events: &[Event]) -> Option<IpAddr> {
    events.iter().find_map(|event| match event {
        Event::CommUp { primary, .. } => Some(*primary),
        _ => None,
    })
}

fn peers(association: &Association) -> Vec<IpAddr> {
    association.paths().iter().map(|path| path.peer).collect()
}

fn first_only(lab: &Lab, mix: Mix) -> Outcome<()> {
    let stage = Stage::new(lab, mix, &[1, 2], patient())?;
    let list = [stage.first(), stage.second()];
    let (association, events) = stage.connect(&list, ConnectOptions::default())?;
    assert_eq!(events[0], Event::Tried { peer: stage.first(), attempt: 1 });
    assert_eq!(primary(&events), Some(stage.first()));
    assert_eq!(events.len(), 2, "{events:?}");
    // Both are listed by both sides, and so confirmed.
    assert_eq!(peers(&association), list);
    assert!(association.paths().iter().all(|path| path.state == PathState::Active));
    stage.use_and_close(&association)
}

fn dead_first(lab: &Lab, mix: Mix) -> Outcome<()> {
    let stage = Stage::new(lab, mix, &[1, 2], quick())?;
    let (dead, second) = (stage.dead()?, stage.second());
    let list = [dead, second, stage.first()];
    let (association, events) = stage.connect(&list, ConnectOptions::default())?;
    let expected = [
        Event::Tried { peer: dead, attempt: 1 },
        Event::MovedOn { peer: dead, reason: MovedOn::Timeout },
        Event::Tried { peer: second, attempt: 2 },
    ];
    assert_eq!(events[..3], expected, "{events:?}");
    assert!(events.contains(&dropped(dead)), "{events:?}");
    assert_eq!(primary(&events), Some(second));
    assert_eq!(peers(&association), [second, stage.first()]);
    stage.use_and_close(&association)
}

fn subset(lab: &Lab, mix: Mix) -> Outcome<()> {
    let stage = Stage::new(lab, mix, &[2], patient())?;
    // Their host has the first address as well, but their socket is not bound to it.
    let list = [stage.second(), stage.first()];
    let (association, events) = stage.connect(&list, ConnectOptions::default())?;
    assert!(events.contains(&dropped(stage.first())), "{events:?}");
    assert_eq!(peers(&association), [stage.second()]);
    stage.use_and_close(&association)
}

fn superset(lab: &Lab, mix: Mix) -> Outcome<()> {
    let stage = Stage::new(lab, mix, &[1, 2], quick())?;
    let (association, mut events) = stage.connect(&[stage.first()], ConnectOptions::default())?;
    assert_eq!(peers(&association), [stage.first(), stage.second()]);
    let change = |change| Event::PeerAddressChange { peer: stage.second(), change };
    let until = Instant::now() + SOON;
    while !events.contains(&change(AddressChange::Active(ActiveReason::Confirmed))) {
        assert!(Instant::now() < until, "{events:?}");
        events.push(association.event_timeout(SOON)?);
    }
    let place = |event| events.iter().position(|told| *told == event);
    assert!(
        place(change(AddressChange::Unconfirmed))
            < place(change(AddressChange::Active(ActiveReason::Confirmed)))
    );
    stage.use_and_close(&association)
}

fn unreachable(lab: &Lab, mix: Mix) -> Outcome<()> {
    let stage = Stage::new(lab, mix, &[1, 2], patient())?;
    let nowhere = mix.address(1, 9);
    stage.ours.route(Prefix::new(nowhere, 8 * octets(nowhere)), Route::Unreachable)?;
    let list = [nowhere, stage.second()];
    let (association, events) = stage.connect(&list, ConnectOptions::default())?;
    let moved = Event::MovedOn { peer: nowhere, reason: MovedOn::Unreachable };
    assert!(events.contains(&moved), "{events:?}");
    assert_eq!(primary(&events), Some(stage.second()));
    stage.use_and_close(&association)
}

fn race(lab: &Lab, mix: Mix) -> Outcome<()> {
    let stage = Stage::new(lab, mix, &[1, 2], patient())?;
    let dead = stage.dead()?;
    let options =
        ConnectOptions::default().with(|options| options.race = Some(Duration::from_millis(50)));
    let (association, events) = stage.connect(&[dead, stage.second()], options)?;
    let expected = [
        Event::Tried { peer: dead, attempt: 1 },
        Event::Tried { peer: stage.second(), attempt: 2 },
    ];
    assert_eq!(events[..2], expected, "{events:?}");
    assert_eq!(primary(&events), Some(stage.second()));
    stage.use_and_close(&association)
}

fn without_sctp(lab: &Lab) -> Outcome<()> {
    for family in [four, six] {
        let stage = Stage::new(lab, Mix::Both, &[1, 2], patient())?;
        let stranger = lab.host("stranger")?;
        let address = family(3, 2);
        let length = if address.is_ipv4() { 24 } else { 64 };
        let options = LinkOptions {
            name: "link3".to_owned(),
            near: vec![Prefix::new(family(3, 1), length)],
            far: vec![Prefix::new(address, length)],
            ..LinkOptions::default()
        };
        let _link = stage.ours.link(&stranger, options)?;
        // Its answer finds the way back to our addresses of the other links.
        let back = if address.is_ipv4() { four(2, 1) } else { six(1, 1) };
        stranger.route(Prefix::new(back, 8 * octets(back)), Route::Via(family(3, 1)))?;
        // The kernel says that it knows no such protocol; or, where its own SCTP is loaded, that nobody listens.
        let list = [address, stage.first(), stage.second()];
        let next =
            ConnectOptions::default().with(|options| options.on_refused = OnRefused::TryNext);
        let (association, events) = stage.connect(&list, next)?;
        let moved = Event::MovedOn { peer: address, reason: MovedOn::Refused };
        assert!(events.contains(&moved), "{events:?}");
        assert_eq!(primary(&events), Some(stage.first()));
        stage.use_and_close(&association)?;
        let alone = [SocketAddr::new(address, PORT), SocketAddr::new(stage.first(), PORT)];
        let mut connecting = stage.client.connectx(&alone, ConnectOptions::default())?;
        let error = connecting.wait_timeout(SOON).unwrap_err();
        assert!(error.is_refused(), "{error}");
        let usctp::Error::Lost(reason @ LostReason::Refused { peer, .. }) = error else {
            return Err("it was not refused".into());
        };
        assert_eq!((peer, reason.errno_freebsd()), (address, 61), "ECONNREFUSED");
    }
    Ok(())
}

fn octets(address: IpAddr) -> u8 {
    if address.is_ipv4() { 4 } else { 16 }
}

fn each_step_as_json(lab: &Lab) -> Outcome<()> {
    let stage = Stage::new(lab, Mix::V4, &[1, 2], quick())?;
    let (dead, absent) = (stage.dead()?.to_string(), four(2, 99).to_string());
    let [first, second] = [stage.first(), stage.second()].map(|address| address.to_string());
    let mut command = Command::new(program());
    command.args(["connect", "--json", "--port", &PORT.to_string(), "--count", "3"]);
    command.args([&dead, &second, &first, &absent]);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = stage.ours.start(command)?;
    let theirs = stage.server.accept_timeout(SOON)?;
    for _ in 0..3 {
        assert!(theirs.recv_timeout(SOON)?.is_some());
    }
    assert!(theirs.recv_timeout(SOON)?.is_none(), "the program closes gracefully");
    let mut output = String::new();
    child.stdout.take().ok_or("it has a standard output")?.read_to_string(&mut output)?;
    assert!(child.wait()?.success(), "{output}");
    let lines: Vec<serde_json::Value> =
        output.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let step = |line: &serde_json::Value| {
        let text = |field: &str| line[field].as_str().unwrap_or_default().to_owned();
        (text("event"), text("address"), text("reason"))
    };
    let steps: Vec<_> = lines.iter().map(step).collect();
    let wanted = |event: &str, address: &str, reason: &str| {
        (event.to_owned(), address.to_owned(), reason.to_owned())
    };
    let begin = [
        wanted("tried", &dead, ""),
        wanted("moved_on", &dead, "timeout"),
        wanted("tried", &second, ""),
        wanted("dropped", &dead, "not in INIT ACK"),
        wanted("dropped", &absent, "not in INIT ACK"),
        wanted("comm_up", "", ""),
    ];
    assert_eq!(steps[..6], begin, "{output}");
    assert_eq!((&lines[0]["attempt"], &lines[2]["attempt"]), (&1.into(), &2.into()));
    assert_eq!(lines[5]["primary"], second.as_str());
    assert_eq!(lines[5]["peer"], serde_json::json!([second, first]));
    let times: Vec<f64> = lines.iter().map(|line| line["at_ms"].as_f64().unwrap()).collect();
    assert!(times.is_sorted(), "{times:?}");
    // T1-init is 1 s, and nothing before it could have moved on.
    assert!(times[1] - times[0] > 900.0, "{times:?}");
    Ok(())
}
