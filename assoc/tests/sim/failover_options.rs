//! What can be chosen for failing paths, of one or of all (RFC 7829, section 7).

use usctp_assoc::sim::z;
use usctp_assoc::{
    AddressChange, Association, Config, ConfigError, Options, PathSettings, PathSettingsError,
    PathState,
};

use crate::failover_play::{HEARTBEATS, Play};
use crate::rfc::request_heartbeat;
use crate::world::{HOUR, ms, secs};

#[test]
fn potential_failure_can_be_kept_from_the_application() {
    let name = "potential_failure_can_be_kept_from_the_application";
    let mut play = Play::new(name, 2, |options| options.failover.expose_potentially_failed = false);
    let begin = play.elapsed();
    play.cut(z(1));
    play.ladder.sends("to be lost");
    play.run(secs(2));
    play.ladder.sends("elsewhere at once");
    play.run(secs(0));
    assert_eq!(play.first_sent()[1].1, z(2));
    assert_eq!((play.state(z(1)), play.changes(begin)), (PathState::Active, vec![]));
    play.restore(z(1));
    play.run(secs(10));
    assert_eq!(play.changes(begin), []);
    play.cut(z(1));
    play.fail(z(1), PathState::Inactive);
    let changes: Vec<_> = play.changes(begin).into_iter().map(|(_, _, change)| change).collect();
    assert!(matches!(changes[..], [AddressChange::Inactive(_)]), "{changes:?}");
    // At run time, from now on.
    play.restore(z(1));
    request_heartbeat(&mut play.ladder, z(1));
    play.run(secs(0));
    play.cut(z(1));
    play.with_association(|association, _| association.expose_potentially_failed(true));
    play.ladder.sends("to be lost");
    play.run(secs(2));
    assert_eq!(play.state(z(1)), PathState::PotentiallyFailed);
}

#[test]
fn parameters_of_a_path_can_be_read_and_set_for_it_alone_or_for_all() {
    let name = "parameters_of_a_path_can_be_read_and_set_for_it_alone_or_for_all";
    let mut play = Play::new(name, 2, |_| {});
    let before = play.settings(z(1));
    let options = Options::default();
    assert_eq!((before.max_retrans, before.potentially_failed_max), (5, Some(0)));
    assert_eq!((before.primary_switchover_max, before.rto), (None, options.rto));
    play.change(z(1), |settings| {
        settings.potentially_failed_max = Some(1);
        settings.max_retrans = 2;
        settings.rto.min = ms(300);
        settings.rto.max = secs(10);
    })
    .unwrap();
    assert_eq!(play.settings(z(2)), before);
    assert_eq!(play.settings(z(1)).rto.max, secs(10));
    // The next measurement is bounded anew.
    request_heartbeat(&mut play.ladder, z(1));
    play.run(secs(1));
    assert_eq!((play.ladder.path(z(1)).rto, play.ladder.path(z(2)).rto), (ms(300), secs(1)));
    let cut = play.elapsed();
    play.alive.clear();
    for peer in [z(1), z(2)] {
        request_heartbeat(&mut play.ladder, peer);
    }
    play.run(secs(2));
    assert_eq!(play.state(z(1)), PathState::Active, "one failure is allowed now");
    request_heartbeat(&mut play.ladder, z(1));
    play.run(secs(1));
    assert_eq!(play.state(z(1)), PathState::PotentiallyFailed);
    play.run(secs(2));
    let changes: Vec<_> =
        play.changes(cut).into_iter().filter(|(_, peer, _)| *peer == z(1)).collect();
    let failing = AddressChange::PotentiallyFailed(HEARTBEATS);
    let inactive = AddressChange::Inactive(HEARTBEATS);
    assert_eq!(changes, [(ms(2_600), z(1), failing), (ms(3_800), z(1), inactive)]);
    play.with_association(|association, now| association.set_all_path_settings(now, before))
        .unwrap();
    assert_eq!((play.settings(z(1)), play.settings(z(2))), (before, before));
}

#[test]
fn parameters_out_of_their_range_change_nothing() {
    let mut play = Play::new("parameters_out_of_their_range_change_nothing", 1, |_| {});
    let before = play.settings(z(1));
    type Change = fn(&mut PathSettings);
    let bad: [(Change, &str); 6] = [
        (|settings| settings.rto.min = secs(0), "rto.min"),
        (|settings| settings.rto.max = secs(0), "rto.max"),
        (|settings| settings.rto.initial = HOUR, "rto.initial"),
        (|settings| settings.heartbeat_interval = Some(HOUR * 25), "heartbeat.interval"),
        (
            |settings| {
                settings.potentially_failed_max = Some(3);
                settings.primary_switchover_max = Some(2);
            },
            "failover.primary_switchover_max",
        ),
        // RFC 7829, 5 (1): without potential failure, Path.Max.Retrans is what counts.
        (
            |settings| {
                settings.potentially_failed_max = None;
                settings.primary_switchover_max = Some(4);
            },
            "failover.primary_switchover_max",
        ),
    ];
    for (change, option) in bad {
        match play.change(z(1), change) {
            Err(PathSettingsError::Config(ConfigError { option: named, .. })) => {
                assert_eq!(named, option);
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(play.settings(z(1)), before);
    }
    let set = |association: &mut Association, now| {
        association.set_path_settings(now, z(9), before).unwrap_err()
    };
    assert!(matches!(play.with_association(set), PathSettingsError::NoSuchPath(_)));
    let mut options = Options::default();
    options.failover.potentially_failed_max = Some(1);
    options.failover.primary_switchover_max = Some(0);
    Config::new(options).unwrap_err();
}
