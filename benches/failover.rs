//! How long a failover takes, ours beside usrsctp's and a Linux kernel's with the same parameters: a link is cut under a
//! steady flow of messages, and the capture of the receiver says when DATA came over the other one.
//!
//! `cargo bench --profile dev --bench failover` prints a table in seven minutes (`-- Linux`: the rows of one sender); it
//! needs root, tshark, gcc, and `tests/interop/linux-peer build`. What it waits for is timers, so that it need not be
//! optimised. `-- in-turn` cuts two links one after the other instead, in a minute and a half, ours beside Linux.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a benchmark that cannot run has nothing to say"
)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use support::linux::{Guest, Wires};
use support::ours::{Ours, SOON, Transport};
use support::payload::PPID;
use support::peer::{Peer, usrsctp_sender};
use support::suite::Outcome;
use support::topology::{Ends, Family, Topology};
use support::tshark;
use usctp::lab::{Host, Lab};
use usctp::{Association, ConnectOptions, Message, Options, Stack};

const PORT: u16 = 5000;
const LENGTH: usize = 1200;
const INTERVAL: Duration = Duration::from_millis(10);
/// The flow before the cut: long enough for the RTO to come down from its initial value.
const WARM_UP: Duration = Duration::from_secs(3);

fn main() -> Outcome<()> {
    let lab = Arc::new(Lab::enter()?);
    if std::env::args().any(|word| word == "in-turn") {
        return in_turn(&lab);
    }
    let usrsctp = usrsctp_sender()?;
    // Cargo gives every benchmark an option that is no name.
    let only = std::env::args().skip(1).find(|word| !word.starts_with('-'));
    println!("| parameters | PF threshold | sender | first byte on the other path | steady flow |");
    println!("|---|---|---|---|---|");
    for parameters in PARAMETERS {
        for threshold in [None, Some(0)] {
            for sender in [Sender::Ours, Sender::Usrsctp, Sender::Linux] {
                if only.as_ref().is_some_and(|only| only != sender.name()) {
                    continue;
                }
                let run = Run { parameters, threshold, sender };
                let mut runs = run.repeat(&lab, &usrsctp)?;
                runs.sort_by(|one, other| one.first.total_cmp(&other.first));
                println!("{}", run.row(&runs));
            }
        }
    }
    Ok(())
}

/// What decides how long a failover takes; times in milliseconds.
#[derive(Clone, Copy)]
struct Parameters {
    name: &'static str,
    rto_min: u64,
    rto_initial: u64,
    rto_max: u64,
    path_max: u16,
    heartbeat: u64,
    /// How long to look without RFC 7829 and with it, in seconds.
    watch: [u64; 2],
    times: usize,
}

const PARAMETERS: [Parameters; 2] = [
    Parameters {
        name: "RTO 200-500 ms, Path.Max.Retrans 2, HB 500 ms",
        rto_min: 200,
        rto_initial: 500,
        rto_max: 500,
        path_max: 2,
        heartbeat: 500,
        watch: [5, 4],
        times: 5,
    },
    Parameters {
        name: "RFC 9260: RTO 1-60 s, Path.Max.Retrans 5, HB 30 s",
        rto_min: 1000,
        rto_initial: 1000,
        rto_max: 60_000,
        path_max: 5,
        heartbeat: 30_000,
        watch: [80, 6],
        times: 2,
    },
];

#[derive(Clone, Copy)]
enum Sender {
    Ours,
    Usrsctp,
    Linux,
}

impl Sender {
    fn name(self) -> &'static str {
        match self {
            Self::Ours => "usctp",
            Self::Usrsctp => "usrsctp",
            Self::Linux => "Linux",
        }
    }
}

/// Times from the cut, in seconds.
struct Measured {
    /// Until DATA came over the other path.
    first: f64,
    /// Until it came without further gaps as long as a time-out; infinite if that was not seen.
    steady: f64,
}

#[derive(Clone, Copy)]
struct Run {
    parameters: Parameters,
    threshold: Option<u16>,
    sender: Sender,
}

impl Run {
    /// All repetitions at once: they wait for timers.
    fn repeat(self, lab: &Arc<Lab>, usrsctp: &Path) -> Outcome<Vec<Measured>> {
        let threads: Vec<JoinHandle<Outcome<Measured>>> = (0..self.parameters.times)
            .map(|_| {
                let (lab, usrsctp) = (Arc::clone(lab), usrsctp.to_owned());
                thread::spawn(move || self.measure(&lab, &usrsctp))
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("it does not panic")).collect()
    }

    /// A Linux kernel sends from both of its addresses to a receiver of ours.
    fn linux_sends(self) -> Outcome<(Guest, Wires, Ours, Peer)> {
        let guest = Guest::boot()??;
        guest.enter()?;
        guest.run(&self.settings())?;
        let wires = Wires(Family::V4);
        let receiver = receiver(&wires)?;
        let command = format!(
            "peer.py send {PORT} {} {} --local {} --local {} --messages 1000000 --length {LENGTH} --interval 0.01",
            wires.ours(1),
            wires.ours(2),
            wires.theirs(1),
            wires.theirs(2),
        );
        let sending = guest.start(&command)?;
        Ok((guest, wires, receiver, sending))
    }

    fn measure(self, lab: &Lab, usrsctp: &Path) -> Outcome<Measured> {
        if matches!(self.sender, Sender::Linux) {
            let (guest, wires, receiver, sending) = self.linux_sends()?;
            let measured = self.cut_and_watch(receiver, wires.ours(2), || guest.cut(1));
            drop(sending);
            return measured;
        }
        let hosts = Topology::new(lab, Family::V4, 2)?;
        let receiver = receiver(&hosts)?;
        let ours = hosts.our_addresses();
        let cut = || Ok(hosts.links[0].cut()?);
        if matches!(self.sender, Sender::Usrsctp) {
            let arguments = self.arguments(&ours);
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            let _sending = Peer::start(&hosts.theirs, usrsctp, &arguments)?;
            return self.cut_and_watch(receiver, ours[1], cut);
        }
        let sending = Sending::start(&hosts.theirs, self.options(), &hosts)?;
        let measured = self.cut_and_watch(receiver, ours[1], cut);
        sending.stop()?;
        measured
    }

    /// With the association up: the flow, the cut, and what the receiver's capture says.
    fn cut_and_watch(
        self,
        receiver: Ours,
        second: IpAddr,
        cut: impl FnOnce() -> Outcome<()>,
    ) -> Outcome<Measured> {
        let association = receiver.accept()?;
        take_for(&association, WARM_UP)?;
        cut()?;
        let time = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64();
        let watch = self.parameters.watch[usize::from(self.threshold.is_some())];
        take_for(&association, Duration::from_secs(watch))?;
        let end = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64();
        association.abort("");
        let capture = receiver.close();
        let mut arrivals = tshark::data_arrivals(capture.path(), second)?;
        arrivals.retain(|arrival| *arrival > time && *arrival < end);
        let first = *arrivals.first().ok_or("nothing came over the other path")?;
        arrivals.push(end);
        // Less than any time-out, and more than a busy machine makes of 10 ms.
        let gap = Duration::from_millis(self.parameters.rto_min).as_secs_f64() * 0.75;
        let last_gap = arrivals.windows(2).rposition(|pair| pair[1] - pair[0] > gap);
        let steady = last_gap.map_or(first, |at| arrivals[at + 1]);
        let steady = if steady == end { f64::INFINITY } else { steady - time };
        Ok(Measured { first: first - time, steady })
    }

    fn options(self) -> Options {
        let parameters = self.parameters;
        let mut options = Options::default();
        options.rto.min = Duration::from_millis(parameters.rto_min);
        options.rto.initial = Duration::from_millis(parameters.rto_initial);
        options.rto.max = Duration::from_millis(parameters.rto_max);
        options.retransmission.path_max = parameters.path_max;
        options.heartbeat.interval = Some(Duration::from_millis(parameters.heartbeat));
        options.failover.potentially_failed_max = self.threshold;
        options
    }

    /// The same for usrsctp; 65,535 is no threshold.
    fn arguments(self, peers: &[IpAddr]) -> Vec<String> {
        let Parameters { rto_min, rto_initial, rto_max, path_max, heartbeat, .. } = self.parameters;
        let threshold = u64::from(self.threshold.unwrap_or(u16::MAX));
        let numbers = [
            PORT.into(),
            1_000_000,
            10,
            rto_min,
            rto_initial,
            rto_max,
            path_max.into(),
            heartbeat,
            threshold,
        ];
        let numbers = numbers.iter().map(u64::to_string);
        numbers.chain(peers.iter().map(IpAddr::to_string)).collect()
    }

    /// The same for the kernel. The order keeps the least RTO below the greatest at every step.
    fn settings(self) -> String {
        let Parameters { rto_min, rto_initial, rto_max, path_max, heartbeat, .. } = self.parameters;
        let threshold = self.threshold.unwrap_or(u16::MAX);
        format!(
            "sysctl -qw net.sctp.rto_max=60000 net.sctp.rto_min={rto_min} net.sctp.rto_max={rto_max} \
             net.sctp.rto_initial={rto_initial} net.sctp.path_max_retrans={path_max} \
             net.sctp.pf_retrans={threshold} net.sctp.hb_interval={heartbeat}"
        )
    }

    fn row(self, runs: &[Measured]) -> String {
        let threshold = self.threshold.map_or("none".to_owned(), |threshold| threshold.to_string());
        let range = |of: fn(&Measured) -> f64| {
            let values = runs.iter().map(of);
            let least = values.clone().fold(f64::INFINITY, f64::min);
            let most = values.fold(0.0, f64::max);
            format!("{least:.2} to {most:.2} s")
        };
        let (first, steady) = (range(|run| run.first), range(|run| run.steady));
        let (name, sender) = (self.parameters.name, self.sender.name());
        format!("| {name} | {threshold} | {sender} | {first} | {steady} |")
    }
}

/// Cuts of two links in turn, with the defaults of RFC 9260 and RFC 7829: how long nothing arrived.
fn in_turn(lab: &Arc<Lab>) -> Outcome<()> {
    println!("| sender | longest silence |");
    println!("|---|---|");
    let senders = [Sender::Ours, Sender::Linux];
    let threads = senders.map(|sender| {
        let lab = Arc::clone(lab);
        let run = Run { parameters: PARAMETERS[1], threshold: Some(0), sender };
        (sender, thread::spawn(move || run.cut_in_turn(&lab)))
    });
    for (sender, thread) in threads {
        let silence = thread.join().expect("it does not panic")?;
        println!("| {} | {:.2} s |", sender.name(), silence.as_secs_f64());
    }
    Ok(())
}

impl Run {
    fn cut_in_turn(self, lab: &Lab) -> Outcome<Duration> {
        if matches!(self.sender, Sender::Linux) {
            let (guest, _wires, receiver, _sending) = self.linux_sends()?;
            return silence_of_turns(&receiver, |link, cut| match cut {
                true => guest.cut(link),
                false => guest.restore(link),
            });
        }
        let hosts = Topology::new(lab, Family::V4, 2)?;
        let receiver = receiver(&hosts)?;
        let sending = Sending::start(&hosts.theirs, self.options(), &hosts)?;
        let silence = silence_of_turns(&receiver, |link, cut| {
            let link = &hosts.links[usize::from(link) - 1];
            if cut { link.cut() } else { link.restore() }.map_err(Into::into)
        });
        receiver.close();
        sending.stop()?;
        silence
    }
}

/// The first link is dead for 34 s, both are whole for 14 s, and the second one is dead for 8 s.
fn silence_of_turns(receiver: &Ours, turn: impl Fn(u8, bool) -> Outcome<()>) -> Outcome<Duration> {
    let association = receiver.accept()?;
    let (mut last, mut longest) = (Instant::now(), Duration::ZERO);
    let turns = [(3, 1, true), (34, 1, false), (14, 2, true), (8, 2, false), (30, 0, false)];
    for (seconds, link, cut) in turns {
        let end = Instant::now() + Duration::from_secs(seconds);
        while Instant::now() < end {
            match association.recv_timeout(Duration::from_millis(100)) {
                Ok(Some(_)) => last = Instant::now(),
                Err(usctp::Error::WouldBlock | usctp::Error::TimedOut) => {}
                other => return Err(format!("the flow ended: {other:?}").into()),
            }
            longest = longest.max(last.elapsed());
        }
        if link > 0 {
            turn(link, cut)?;
        }
    }
    association.abort("");
    Ok(longest)
}

/// Our stack listens on both addresses, with the defaults of RFC 9260.
fn receiver(ends: &impl Ends) -> Outcome<Ours> {
    let receiver = Ours::open_with(ends, Transport::Raw, PORT, Options::default())?;
    receiver.listen()?;
    Ok(receiver)
}

fn take_for(association: &Association, time: Duration) -> Outcome<()> {
    let end = Instant::now() + time;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        match association.recv_timeout(left) {
            Ok(Some(_)) | Err(usctp::Error::WouldBlock | usctp::Error::TimedOut) => {}
            other => return Err(format!("the flow ended: {other:?}").into()),
        }
    }
}

/// Our stack as the sender, in the other host.
struct Sending {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Outcome<()>>,
}

impl Sending {
    fn start(host: &Host, options: Options, hosts: &Topology) -> Outcome<Self> {
        let from: Vec<IpAddr> = hosts.their_addresses(0).iter().map(SocketAddr::ip).collect();
        let to: Vec<SocketAddr> =
            hosts.our_addresses().into_iter().map(|peer| SocketAddr::new(peer, PORT)).collect();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let send = move || -> Outcome<()> {
            let stack = Stack::builder().raw().open()?;
            let socket = stack.bind(0, &from, options)?;
            let association =
                socket.connectx(&to, ConnectOptions::default())?.wait_timeout(SOON)?;
            while !stopped.load(Ordering::Relaxed) {
                // It may wait for room as long as the failover takes; the receiver ends the association.
                if association.send(Message::new(0, vec![b'x'; LENGTH]).ppid(PPID)).is_err() {
                    break;
                }
                sleep(INTERVAL);
            }
            Ok(())
        };
        Ok(Self { stop, thread: host.spawn("sender", send)? })
    }

    fn stop(self) -> Outcome<()> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("it does not panic")
    }
}
