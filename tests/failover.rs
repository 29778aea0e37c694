//! Failover over real raw sockets: two and three links between two hosts, a transfer under way, and everything that
//! breaks on one of the links. Nothing may be lost, the time to switch is bounded by the parameters, and once the link
//! is whole again the traffic returns to it.
//!
//! Each test prints a line of what it measured; `docs/failover.md` has the table of them.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics has failed, as it should"
)]

#[path = "failover/scene.rs"]
mod scene;
mod support;
#[path = "failover/transfer.rs"]
mod transfer;

use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, Instant};

use scene::Scene;
use support::suite::{Outcome, Suite};
use support::topology::Family::{self, V4, V6};
use transfer::Transfer;
use usctp::lab::{End, Lab, Link, Prefix, Route, Rule, Way};
use usctp::{ActiveReason, AddressChange, Options, PathState};

fn main() -> ExitCode {
    let mut suite = Suite::enter("failover");
    // Nearly all of it is waiting for time-outs.
    suite.at_a_time = 6;
    for case in CASES {
        for (name, families) in case.families {
            suite
                .in_lab(format!("{}_over_{name}", case.name), move |lab| play(lab, case, families));
        }
    }
    for (name, families) in BOTH {
        let test = move |lab: &Lab| total_outage(lab, families);
        suite.in_lab(format!("all_links_are_cut_and_the_second_comes_back_over_{name}"), test);
        let test = move |lab: &Lab| cut_in_turn(lab, families);
        suite.in_lab(
            format!("a_link_that_came_back_takes_over_from_one_that_is_cut_over_{name}"),
            test,
        );
        let test = move |lab: &Lab| states(lab, families);
        suite.in_lab(format!("each_state_of_a_failing_path_is_told_in_its_turn_over_{name}"), test);
        let test = move |lab: &Lab| switchover(lab, families);
        suite.in_lab(format!("with_switchover_the_second_path_stays_primary_over_{name}"), test);
    }
    suite.run()
}

/// What happens to the links, and what is to follow.
struct Case {
    name: &'static str,
    families: &'static [(&'static str, &'static [Family])],
    /// Whether the links have relays, which can lose by rule.
    relayed: bool,
    breaks: fn(&Scene) -> Outcome<()>,
    heals: fn(&Scene) -> Outcome<()>,
    /// The paths that are to be found dead.
    dead: &'static [usize],
    /// What the MTU of the first path is to be lowered to, in bytes, or to less.
    mtu: Option<usize>,
    /// How many expiries of T3-rtx may pass, one after the other, before a message is through.
    hops: u32,
    /// Whether messages arrive more slowly than they are handed over for as long as it lasts.
    slow: bool,
}

/// A message has so many fragments, and a path whose acknowledgements are lost takes one packet at a time: a HEARTBEAT
/// that is answered makes it a good path again.
const FRAGMENTS: u32 = 3;

const BOTH: &[(&str, &[Family])] = &[("ipv4", &[V4, V4]), ("ipv6", &[V6, V6])];
const IPV4: &[(&str, &[Family])] = &[("ipv4", &[V4, V4])];
const ALSO_MIXED: &[(&str, &[Family])] = &[
    ("ipv4", &[V4, V4]),
    ("ipv6", &[V6, V6]),
    ("ipv4_then_ipv6", &[V4, V6]),
    ("ipv6_then_ipv4", &[V6, V4]),
];
const THREE: &[(&str, &[Family])] =
    &[("ipv4", &[V4, V4, V4]), ("ipv6", &[V6, V6, V6]), ("mixed", &[V6, V4, V6])];

const CASES: &[Case] = &[
    Case {
        name: "cable_cut_silently",
        families: ALSO_MIXED,
        breaks: |scene| Ok(scene.links[0].cut()?),
        heals: |scene| Ok(scene.links[0].restore()?),
        ..FIRST_DIES
    },
    Case {
        name: "link_down",
        breaks: |scene| Ok(scene.links[0].set_up(false)?),
        heals: |scene| Ok(scene.links[0].set_up(true)?),
        ..FIRST_DIES
    },
    Case {
        name: "blackhole_route_at_the_sender",
        breaks: |scene| Ok(scene.near.route(to_far(scene), Route::Blackhole)?),
        heals: |scene| Ok(scene.near.unroute(to_far(scene), Route::Blackhole)?),
        ..FIRST_DIES
    },
    Case {
        name: "blackhole_route_at_the_receiver",
        breaks: |scene| Ok(scene.far.route(to_near(scene), Route::Blackhole)?),
        heals: |scene| Ok(scene.far.unroute(to_near(scene), Route::Blackhole)?),
        ..FIRST_DIES
    },
    Case {
        name: "unreachable_route_at_the_sender",
        breaks: |scene| Ok(scene.near.route(to_far(scene), Route::Unreachable)?),
        heals: |scene| Ok(scene.near.unroute(to_far(scene), Route::Unreachable)?),
        ..FIRST_DIES
    },
    Case {
        name: "everything_dropped_towards_the_receiver",
        relayed: true,
        breaks: |scene| Ok(scene.links[0].lose(Way::ToFar, Some(Rule::Everything))?),
        heals: |scene| Ok(scene.links[0].lose(Way::ToFar, None)?),
        ..FIRST_DIES
    },
    Case {
        name: "everything_dropped_towards_the_sender",
        relayed: true,
        breaks: |scene| Ok(scene.links[0].lose(Way::ToNear, Some(Rule::Everything))?),
        heals: |scene| Ok(scene.links[0].lose(Way::ToNear, None)?),
        ..FIRST_DIES
    },
    Case {
        name: "packets_over_1280_bytes_dropped",
        relayed: true,
        breaks: |scene| Ok(scene.links[0].lose(Way::ToFar, Some(Rule::LongerThan(1280)))?),
        heals: |scene| Ok(scene.links[0].lose(Way::ToFar, None)?),
        mtu: Some(1280),
        hops: FRAGMENTS,
        ..ALL_LIVE
    },
    Case {
        name: "packets_over_1300_bytes_refused_by_a_router",
        relayed: true,
        breaks: |scene| Ok(scene.links[0].lose(Way::ToFar, Some(Rule::TooBig(1300)))?),
        heals: |scene| Ok(scene.links[0].lose(Way::ToFar, None)?),
        mtu: Some(1300),
        ..ALL_LIVE
    },
    Case {
        name: "sacks_dropped",
        relayed: true,
        breaks: |scene| Ok(scene.links[0].lose(Way::ToNear, Some(Rule::Sacks))?),
        heals: |scene| Ok(scene.links[0].lose(Way::ToNear, None)?),
        hops: FRAGMENTS,
        slow: true,
        ..ALL_LIVE
    },
    Case {
        name: "mtu_lowered_to_1300",
        breaks: |scene| Ok(scene.links[0].set_mtu(1300)?),
        heals: |scene| Ok(scene.links[0].set_mtu(1500)?),
        mtu: Some(1300),
        ..ALL_LIVE
    },
    Case {
        name: "mtu_lowered_to_400",
        families: IPV4,
        breaks: |scene| Ok(scene.links[0].set_mtu(400)?),
        heals: |scene| Ok(scene.links[0].set_mtu(1500)?),
        mtu: Some(400),
        slow: true,
        ..ALL_LIVE
    },
    Case {
        name: "mtu_lowered_to_296",
        families: IPV4,
        breaks: |scene| Ok(scene.links[0].set_mtu(296)?),
        heals: |scene| Ok(scene.links[0].set_mtu(1500)?),
        mtu: Some(296),
        slow: true,
        ..ALL_LIVE
    },
    Case {
        name: "packets_over_400_bytes_refused_by_a_router",
        families: IPV4,
        relayed: true,
        breaks: |scene| Ok(scene.links[0].lose(Way::ToFar, Some(Rule::TooBig(400)))?),
        heals: |scene| Ok(scene.links[0].lose(Way::ToFar, None)?),
        mtu: Some(400),
        slow: true,
        ..ALL_LIVE
    },
    Case {
        name: "packets_over_296_bytes_dropped",
        families: IPV4,
        relayed: true,
        breaks: |scene| Ok(scene.links[0].lose(Way::ToFar, Some(Rule::LongerThan(296)))?),
        heals: |scene| Ok(scene.links[0].lose(Way::ToFar, None)?),
        mtu: Some(296),
        // BASE_PLPMTU, 512 and 68 are tried, each after an expiry, and what there is has three fragments.
        hops: 3 * FRAGMENTS,
        slow: true,
        ..ALL_LIVE
    },
    Case {
        name: "address_removed_from_the_sender",
        breaks: |scene| Ok(scene.links[0].near().remove_address(scene.near_prefix(0))?),
        heals: |scene| Ok(scene.links[0].near().add_address(scene.near_prefix(0))?),
        ..FIRST_DIES
    },
    Case {
        name: "address_removed_from_the_receiver",
        breaks: |scene| Ok(scene.links[0].far().remove_address(scene.far_prefix(0))?),
        heals: |scene| Ok(scene.links[0].far().add_address(scene.far_prefix(0))?),
        ..FIRST_DIES
    },
    Case {
        name: "addresses_swapped_between_the_interfaces",
        breaks: |scene| exchange(scene, [0, 1], [1, 0]),
        heals: |scene| exchange(scene, [1, 0], [0, 1]),
        hops: 2,
        ..ALL_LIVE
    },
    Case {
        name: "two_of_three_links_cut",
        families: THREE,
        breaks: |scene| Ok(scene.links[..2].iter().try_for_each(Link::cut)?),
        heals: |scene| Ok(scene.links[..2].iter().try_for_each(Link::restore)?),
        dead: &[0, 1],
        hops: 2,
        ..FIRST_DIES
    },
];

/// The first path dies, and comes back.
const FIRST_DIES: Case = Case {
    name: "",
    families: BOTH,
    relayed: false,
    breaks: |_| Ok(()),
    heals: |_| Ok(()),
    dead: &[0],
    mtu: None,
    hops: 1,
    slow: false,
};

/// No path is dead, though some of what is sent does not arrive.
const ALL_LIVE: Case = Case { dead: &[], ..FIRST_DIES };

fn to_far(scene: &Scene) -> Prefix {
    Prefix::host(scene.far_prefix(0).address)
}

fn to_near(scene: &Scene) -> Prefix {
    Prefix::host(scene.near_prefix(0).address)
}

/// Moves both hosts' addresses: address n is on link `from[n]` and comes to link `to[n]`.
fn exchange(scene: &Scene, from: [usize; 2], to: [usize; 2]) -> Outcome<()> {
    let near: (fn(&Link) -> &End, [Prefix; 2]) = (Link::near, [0, 1].map(|n| scene.near_prefix(n)));
    let far: (fn(&Link) -> &End, [Prefix; 2]) = (Link::far, [0, 1].map(|n| scene.far_prefix(n)));
    for (end, prefixes) in [near, far] {
        for (prefix, link) in prefixes.into_iter().zip(from) {
            end(&scene.links[link]).remove_address(prefix)?;
        }
        for (prefix, link) in prefixes.into_iter().zip(to) {
            end(&scene.links[link]).add_address(prefix)?;
        }
    }
    Ok(())
}

/// Shorter than RFC 9260 advises, so that everything takes a second and not a minute.
fn options() -> Options {
    let mut options = Options::default();
    options.rto.initial = Duration::from_millis(200);
    options.rto.min = Duration::from_millis(100);
    options.rto.max = Duration::from_millis(200);
    options.sack.delay = Duration::from_millis(20);
    options.heartbeat.interval = Some(Duration::from_millis(200));
    options.retransmission.path_max = 2;
    // No outage of a test is to end the association.
    options.retransmission.association_max = 50;
    options
}

/// What a loaded machine may add to any of the times: threads that wait for their turn, a kernel that looks after links
/// and neighbours once a second.
const GRACE: Duration = Duration::from_millis(1500);

/// What the parameters promise.
struct Promise {
    /// Until messages arrive again: T3-rtx of what is tried in vain, and the delayed SACK.
    switch: Duration,
    /// Until a dead path is inactive: Path.Max.Retrans + 1 HEARTBEATs that are not answered within the RTO, each sent
    /// HB.interval and one and a half RTOs after the one before (RFC 9260, section 8.3). T3-rtx is faster than that.
    inactive: Duration,
    /// Until a path that is whole again is active: one HEARTBEAT of before has to expire, the next is answered.
    active: Duration,
}

impl Promise {
    fn of(options: &Options, hops: u32) -> Self {
        let (rto, hold) = (options.rto.max, options.sack.delay);
        let interval = options.heartbeat.interval.unwrap_or_default();
        let heartbeat = rto + interval + rto * 3 / 2;
        Self {
            switch: rto * hops + hold,
            inactive: heartbeat * (u32::from(options.retransmission.path_max) + 1),
            active: heartbeat,
        }
    }
}

fn play(lab: &Lab, case: &Case, families: &[Family]) -> Outcome<()> {
    let scene = Scene::new(lab, families, case.relayed)?;
    let options = options();
    let promise = Promise::of(&options, case.hops);
    let transfer = Transfer::begin(&scene, &options)?;
    let fault = Instant::now();
    (case.breaks)(&scene)?;
    let inactive =
        transfer.until("the dead paths are inactive", promise.inactive + GRACE, |now| {
            case.dead.iter().all(|&link| now.path(link).state == PathState::Inactive)
        })?;
    if case.dead.is_empty() {
        // Long enough for several expiries.
        sleep(options.rto.max * 6);
    } else {
        let sent = || case.dead.iter().map(|&link| transfer.bytes_sent(link)).sum::<u64>();
        let before = sent();
        transfer.until_delivered(100, promise.switch + GRACE)?;
        assert_eq!(sent(), before, "a path that is inactive gets no messages");
    }
    if let Some(mtu) = case.mtu {
        // Where nobody tells, it shows after two expiries of T3-rtx.
        let bound = promise.switch + GRACE;
        transfer.until("the MTU is found", bound, |now| now.path(0).mtu <= mtu)?;
    }
    if !case.slow {
        transfer.until_caught_up(promise.switch + GRACE)?;
    }
    let (switched, silence) = (transfer.switched_after(fault), transfer.silence_since(fault));
    let healing = Instant::now();
    (case.heals)(&scene)?;
    transfer.until("all paths are active again", promise.active + GRACE, Transfer::is_whole)?;
    transfer.until_used(0, promise.active + GRACE)?;
    let returned = healing.elapsed();
    let bound = promise.switch + GRACE;
    if silence > bound {
        return Err(transfer.explain(&format!("silent for {silence:?}")).into());
    }
    transfer.end()?;
    let or_none = |time| if case.dead.is_empty() { "-".into() } else { millis(time) };
    report(&[
        format!("{} over {}", case.name.replace('_', " "), families_text(families)),
        switched.map_or("-".into(), millis),
        millis(silence),
        millis(promise.switch),
        or_none(inactive),
        or_none(promise.inactive),
        or_none(returned),
        or_none(promise.active),
    ]);
    Ok(())
}

/// Nothing works for a while; then the second link does, and at last the first.
fn total_outage(lab: &Lab, families: &[Family]) -> Outcome<()> {
    let scene = Scene::new(lab, families, false)?;
    let options = options();
    let promise = Promise::of(&options, 1);
    let transfer = Transfer::begin(&scene, &options)?;
    scene.links.iter().try_for_each(Link::cut)?;
    transfer.until("both paths are inactive", promise.inactive * 2 + GRACE, |now| {
        now.association.paths().iter().all(|path| path.state == PathState::Inactive)
    })?;
    let healing = Instant::now();
    scene.links[1].restore()?;
    transfer.until_delivered(100, promise.active + promise.switch + GRACE)?;
    let switched = transfer.resumed_after(healing).map_or("-".into(), millis);
    scene.links[0].restore()?;
    transfer.until("all paths are active again", promise.active + GRACE, Transfer::is_whole)?;
    transfer.until_used(0, promise.active + GRACE)?;
    transfer.end()?;
    let name = format!("all links cut, then the second whole, over {}", families_text(families));
    let until_flow = millis(promise.active + promise.switch);
    report(&[
        name,
        "-".into(),
        switched,
        until_flow,
        "-".into(),
        "-".into(),
        "-".into(),
        "-".into(),
    ]);
    Ok(())
}

/// The first link is dead for so long that its RTO has backed off to seconds. In the moment in which it is whole again, and
/// nobody can have noticed, the second one is cut.
fn cut_in_turn(lab: &Lab, families: &[Family]) -> Outcome<()> {
    let scene = Scene::new(lab, families, false)?;
    let mut options = options();
    options.rto.max = Duration::from_secs(60);
    options.heartbeat.interval = Some(Duration::from_secs(30));
    options.retransmission.path_max = 20;
    let found = options.heartbeat.failed_interval.unwrap_or_default();
    let transfer = Transfer::begin(&scene, &options)?;
    scene.links[0].cut()?;
    transfer.until_delivered(100, options.rto.min + GRACE)?;
    sleep(Duration::from_secs(13));
    assert!(transfer.path(0).rto >= Duration::from_secs(5), "{:?}", transfer.path(0));
    let fault = Instant::now();
    scene.links[0].restore()?;
    scene.links[1].cut()?;
    // T3-rtx of the second path, a HEARTBEAT to the first and its answer.
    let bound = options.rto.min * 2 + options.sack.delay;
    transfer.until_delivered(100, bound + GRACE)?;
    transfer.until_caught_up(bound + GRACE)?;
    let (switched, silence) = (transfer.switched_after(fault), transfer.silence_since(fault));
    if silence > bound + GRACE {
        return Err(transfer.explain(&format!("silent for {silence:?}")).into());
    }
    let healing = Instant::now();
    scene.links[1].restore()?;
    transfer.until("all paths are active again", found + GRACE, Transfer::is_whole)?;
    let returned = healing.elapsed();
    transfer.end()?;
    report(&[
        format!("the first link whole and the second cut at once over {}", families_text(families)),
        switched.map_or("-".into(), millis),
        millis(silence),
        millis(bound),
        "-".into(),
        "-".into(),
        millis(returned),
        millis(found),
    ]);
    Ok(())
}

/// RFC 7829: a path is potentially failed before it is inactive, and leaves both when it answers.
fn states(lab: &Lab, families: &[Family]) -> Outcome<()> {
    let scene = Scene::new(lab, families, false)?;
    let options = options();
    let promise = Promise::of(&options, 1);
    let transfer = Transfer::begin(&scene, &options)?;
    transfer.changes(0);
    scene.links[0].cut()?;
    transfer.until("the first path is inactive", promise.inactive + GRACE, |now| {
        now.path(0).state == PathState::Inactive
    })?;
    transfer.until_caught_up(promise.switch + GRACE)?;
    // A machine that is loaded may let a round trip take longer than RTO.Min before anything is cut: what counts is how
    // it ends.
    let changes = transfer.changes(0);
    let [.., before, last] = changes[..] else { return Err(format!("{changes:?}").into()) };
    assert!(matches!(before, AddressChange::PotentiallyFailed(_)), "{changes:?}");
    assert!(matches!(last, AddressChange::Inactive(_)), "{changes:?}");
    scene.links[0].restore()?;
    transfer.until("all paths are active again", promise.active + GRACE, Transfer::is_whole)?;
    let changes = transfer.changes(0);
    assert!(changes.contains(&AddressChange::Active(ActiveReason::HeartbeatAcked)), "{changes:?}");
    transfer.end()
}

/// RFC 7829, section 5: the path that takes over becomes the primary for good.
fn switchover(lab: &Lab, families: &[Family]) -> Outcome<()> {
    let scene = Scene::new(lab, families, false)?;
    let mut options = options();
    options.failover.primary_switchover_max = Some(options.retransmission.path_max);
    let promise = Promise::of(&options, 1);
    let transfer = Transfer::begin(&scene, &options)?;
    scene.links[0].cut()?;
    transfer.until("the second path is primary", promise.inactive + GRACE, |now| {
        now.primary() == Some(1)
    })?;
    transfer.until_caught_up(promise.switch + GRACE)?;
    scene.links[0].restore()?;
    transfer.until("all paths are active again", promise.active + GRACE, Transfer::is_whole)?;
    transfer.until_used(1, promise.switch + GRACE)?;
    assert_eq!(transfer.primary(), Some(1));
    transfer.end()
}

/// A row of the table in `docs/failover.md`.
fn report(cells: &[String]) {
    println!("| {} |", cells.join(" | "));
}

fn families_text(families: &[Family]) -> String {
    let text = |family: &Family| if *family == V4 { "IPv4" } else { "IPv6" };
    families.iter().map(text).collect::<Vec<_>>().join(" + ")
}

fn millis(time: Duration) -> String {
    time.as_millis().to_string()
}
