//! The parameters of the demonstration's endpoints: shorter than RFC 9260's, so that nobody has to wait.

use std::time::Duration;

use usctp::Options;

/// What the demonstration changes of RFC 9260, section 16, in words.
pub(crate) const IN_WORDS: &str = "RTO 0.5 s at first, then 0.2 to 0.5 s; Path.Max.Retrans 2; HB.interval 0.5 s \
    (RFC 9260 advises 1 s, 1 to 60 s; 5; 30 s)";

/// The options of both endpoints.
///
/// New messages leave a path at its first time-out (RFC 7829): here after 0.2 s of silence. It is given up after
/// Path.Max.Retrans + 1 time-outs in a row: here after 0.2 + 0.4 + 0.5 s, with the parameters of RFC 9260 after a minute. SACKs may be delayed by less than the shortest RTO only.
pub(crate) fn endpoint() -> Options {
    let mut options = Options::default();
    options.rto.initial = Duration::from_millis(500);
    options.rto.min = Duration::from_millis(200);
    options.rto.max = Duration::from_millis(500);
    options.retransmission.path_max = 2;
    options.heartbeat.interval = Some(Duration::from_millis(500));
    options.sack.delay = Duration::from_millis(50);
    options.limits.outbound_streams = 1;
    options.limits.receive_buffer = 4 << 20;
    options.limits.send_buffer = 4 << 20;
    options.shutdown_guard = Some(Duration::from_secs(10));
    options
}
