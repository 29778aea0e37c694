//! The play itself: connect, send, cut, fail over, restore, close, report.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread;
use std::time::{Duration, Instant};

use usctp::{
    AddressChange, Association, AssociationState, ConnectOptions, Error, Event, MovedOn, Stack,
};

use super::act::{Act, Cut};
use super::options;
use super::report::{Outcome, Report};
use super::stage::{PORT, Stage};
use super::story::{Happening, Story, milliseconds};
use super::transfer::{Hash, Milestone, Progress, Sending, Server, message_length};
use crate::events::removed_reason;
use crate::exit::Failure;
use crate::interrupt::Interrupts;

/// How long one look at the events may take.
const TICK: Duration = Duration::from_millis(20);

/// How long the failover, and giving the dead path up, may take before the play goes on without it.
const FAILOVER_BOUND: Duration = Duration::from_secs(15);

/// How long a restored link is waited for before the association is closed.
const RESTORED_BOUND: Duration = Duration::from_secs(3);

/// How long the close may take.
const CLOSE_BOUND: Duration = Duration::from_secs(10);

/// Who leads through the play.
pub(crate) struct Conductor<'a, S> {
    stage: &'a S,
    bytes: u64,
    story: Story,
    interrupts: Interrupts,
    interrupted: u32,
    progress: Arc<Progress>,
    act: Act,
}

impl<'a, S: Stage + Sync> Conductor<'a, S> {
    pub(crate) fn new(stage: &'a S, bytes: u64, story: Story, interrupts: Interrupts) -> Self {
        let (progress, act) = (Arc::default(), Act::default());
        Self { stage, bytes, story, interrupts, interrupted: 0, progress, act }
    }

    /// Plays it all; the stacks are closed when it returns.
    pub(crate) fn run(mut self, capture: Option<&Path>) -> Result<(), Failure> {
        let (body, server) = Server::prepare(*self.stage.addresses(), &self.progress);
        let thread = self.stage.start_server(body)?;
        let result = self.play(&server, capture);
        self.story.end_progress();
        self.progress.stop.store(true, Ordering::Relaxed);
        let _ = thread.join();
        let report = result?;
        self.story.write_json(&report)?;
        let text = report.text(self.story.styles());
        self.story.write(&text)?;
        match report.ok {
            true => Ok(()),
            false => Err(Failure::failed("the demonstration did not go as it should")),
        }
    }

    fn play(&mut self, server: &Server, capture: Option<&Path>) -> Result<Report, Failure> {
        server.listening.recv().map_err(|_| Failure::failed("the server's thread ended"))??;
        let stack = self.stage.open_client(capture)?;
        let association = self.connect(&stack)?;
        let sent = self.transfer(&association);
        if self.interrupted > 0 {
            self.leave(&association)?;
            return Err(Failure::interrupted());
        }
        let sent = sent?;
        let closed = self.close(&association)?;
        let received =
            server.hash.recv().map_err(|_| Failure::failed("the server's thread ended"))?;
        let outcome = Outcome {
            bytes: self.bytes,
            transport: self.stage.transport(),
            closed,
            sha256_match: received? == sent,
            retransmitted: association.statistics().data_chunks_retransmitted,
            relayed: self.stage.relayed(),
        };
        let deliveries = self.progress.deliveries();
        Ok(Report::new(&outcome, &self.act, &deliveries, self.story.told(), sent))
    }

    fn connect(&mut self, stack: &Stack) -> Result<Association, Failure> {
        let addresses = *self.stage.addresses();
        let listed = addresses.listed();
        let peers = listed.map(|address| SocketAddr::new(address, PORT));
        let socket = stack.bind(0, &addresses.client, options::endpoint())?;
        self.story.tell(Happening::Connecting { addresses: listed.to_vec() })?;
        let connecting = socket.connectx(&peers, ConnectOptions::default())?;
        loop {
            if self.was_interrupted()? {
                // Dropping what has not come up aborts it.
                return Err(Failure::interrupted());
            }
            match connecting.event_timeout(TICK) {
                Ok(Event::CommUp { primary, .. }) => {
                    let association = connecting.detach();
                    let peer = association.paths().iter().map(|path| path.peer).collect();
                    self.story.tell(Happening::CommUp { primary, peer })?;
                    return Ok(association);
                }
                Ok(event) => self.on_event(&event)?,
                Err(Error::TimedOut) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Sends everything while the events of the association are watched.
    fn transfer(&mut self, association: &Association) -> Result<Hash, Failure> {
        let (bytes, message_bytes) = (self.bytes, message_length(self.bytes));
        self.story.tell(Happening::Sending { bytes, message_bytes })?;
        self.story.begin_progress(bytes);
        self.act.began = Some(Instant::now());
        let (milestones, reached) = channel();
        let (go, go_on) = channel();
        let (stage, progress) = (self.stage, Arc::clone(&self.progress));
        thread::scope(|scope| {
            let progress: &Progress = &progress;
            let sending = Sending { association, bytes, progress, milestones, go_on };
            let cut = || cut_active_link(stage, association);
            let thread = thread::Builder::new().name("sender".to_owned());
            thread.spawn_scoped(scope, move || sending.run(cut))?;
            // The word to go on is lost with its sender: a sender that waits for it goes on, and finds out.
            let result = self.watch(association, &reached, go);
            progress.stop_sending.store(true, Ordering::Relaxed);
            result
        })
    }

    fn watch(
        &mut self,
        association: &Association,
        reached: &Receiver<Milestone>,
        go: Sender<()>,
    ) -> Result<Hash, Failure> {
        let mut waiting = false;
        loop {
            if self.was_interrupted()? {
                return Err(Failure::interrupted());
            }
            self.look(association)?;
            match reached.try_recv() {
                Ok(Milestone::Cut { at, cut, sent }) => self.on_cut(at, cut?, sent)?,
                Ok(Milestone::ThreeQuarters) => waiting = true,
                Ok(Milestone::End(hash)) => return Ok(hash?),
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => {
                    return Err(Failure::failed("the sender's thread ended"));
                }
            }
            if waiting && self.has_failed_over() {
                waiting = false;
                self.restore()?;
                let _ = go.send(());
            }
        }
    }

    /// Takes the events that are there, waiting a tick for the first, and moves the progress bar.
    fn look(&mut self, association: &Association) -> Result<(), Failure> {
        let mut event = association.event_timeout(TICK);
        while let Ok(happened) = &event {
            self.on_event(happened)?;
            event = association.try_event();
        }
        self.find_failover(association)?;
        let message = match self.act {
            Act { cut: None, .. } => "both links are up",
            Act { failed_over: None, .. } => "the active link is cut",
            Act { restored: None, .. } => "over the other link",
            Act { active_again: None, .. } => "the link is restored",
            _ => "both links are up again",
        };
        self.story.progress(self.progress.received(), message);
        match event {
            Err(Error::TimedOut | Error::WouldBlock | Error::Closed) | Ok(_) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn on_event(&mut self, event: &Event) -> Result<(), Failure> {
        let happening = match *event {
            Event::Tried { peer, attempt } => Happening::Tried { address: peer, attempt },
            Event::MovedOn { peer, reason } => {
                let reason = match reason {
                    MovedOn::Timeout => "timeout",
                    MovedOn::Unreachable => "unreachable",
                    MovedOn::Refused => "refused",
                };
                Happening::MovedOn { address: peer, reason }
            }
            Event::PeerAddressChange { peer, change } => match change {
                AddressChange::Removed(reason) => {
                    Happening::Dropped { address: peer, reason: removed_reason(reason) }
                }
                AddressChange::Ignored(_) => return Ok(()),
                AddressChange::Unconfirmed => {
                    Happening::Path { address: peer, state: "unconfirmed" }
                }
                AddressChange::Active(_) => Happening::Path { address: peer, state: "active" },
                AddressChange::PotentiallyFailed(_) => {
                    Happening::Path { address: peer, state: "potentially_failed" }
                }
                AddressChange::Inactive(_) => Happening::Path { address: peer, state: "inactive" },
                AddressChange::Primary(_) => Happening::Path { address: peer, state: "primary" },
            },
            _ => return Ok(()),
        };
        if let Happening::Path { address, state } = happening {
            self.on_path(address, state);
        }
        Ok(self.story.tell(happening)?)
    }

    fn on_path(&mut self, address: IpAddr, state: &'static str) {
        let cut = self.act.cut.is_some_and(|cut| cut.address == address);
        match state {
            "potentially_failed" if cut => self.act.left = self.act.left.or(Some(Instant::now())),
            "inactive" if cut => {
                self.act.inactive = self.act.inactive.or(Some(Instant::now()));
                self.act.left = self.act.left.or(self.act.inactive);
            }
            "active" if cut && self.act.restored.is_some() => {
                self.act.active_again = self.act.active_again.or(Some(Instant::now()));
            }
            _ => {}
        }
    }

    fn on_cut(&mut self, at: Instant, cut: Cut, sent: u64) -> Result<(), Failure> {
        self.act.cut = Some(Cut { at, ..cut });
        let Cut { link, address, .. } = cut;
        Ok(self.story.tell_at(at, Happening::Cut { link: link + 1, address, sent })?)
    }

    /// Data flows again for good: the first message that arrived after the dead path was left, or that moment itself if
    /// nothing was left to arrive.
    fn find_failover(&mut self, association: &Association) -> Result<(), Failure> {
        let (Some(cut), Some(left), None) = (self.act.cut, self.act.left, self.act.failed_over)
        else {
            return Ok(());
        };
        let idle = association.send_buffered() == 0;
        let flows = self.progress.first_after(left);
        let Some(at) = flows.or(idle.then_some(left)) else { return Ok(()) };
        self.act.failed_over = Some(at);
        let failover_ms = milliseconds(at.saturating_duration_since(cut.at));
        let [first, second] = self.stage.addresses().server;
        let address = if cut.link == 0 { second } else { first };
        Ok(self.story.tell_at(at, Happening::Failover { address, failover_ms })?)
    }

    /// Whether the failover is over and the dead path was given up, or neither is waited for any longer.
    fn has_failed_over(&self) -> bool {
        let late = self.act.cut.is_some_and(|cut| cut.at.elapsed() > FAILOVER_BOUND);
        (self.act.failed_over.is_some() && self.act.inactive.is_some()) || late
    }

    fn restore(&mut self) -> Result<(), Failure> {
        let Some(Cut { link, address, .. }) = self.act.cut else { return Ok(()) };
        self.stage.restore(link)?;
        self.act.restored = Some(Instant::now());
        Ok(self.story.tell(Happening::Restored { link: link + 1, address })?)
    }

    /// Waits for the restored link, then closes; whether it was graceful.
    fn close(&mut self, association: &Association) -> Result<bool, Failure> {
        let bound = Instant::now() + RESTORED_BOUND;
        while Instant::now() < bound
            && (self.act.active_again.is_none() || self.progress.received() < self.bytes)
        {
            if self.was_interrupted()? {
                self.leave(association)?;
                return Err(Failure::interrupted());
            }
            self.look(association)?;
        }
        self.story.end_progress();
        let closed = association.shutdown_timeout(CLOSE_BOUND);
        if closed.is_ok() {
            self.story.tell(Happening::Closed)?;
        }
        Ok(closed.is_ok())
    }

    /// After an interruption: closes gracefully, or at once if there is another one.
    fn leave(&mut self, association: &Association) -> Result<(), Failure> {
        self.story.end_progress();
        association.start_shutdown()?;
        let bound = Instant::now() + CLOSE_BOUND;
        while association.state() != AssociationState::Closed {
            self.was_interrupted()?;
            if self.interrupted > 1 || Instant::now() > bound {
                association.abort("interrupted");
                break;
            }
            thread::sleep(TICK);
        }
        Ok(())
    }

    /// Whether there was a Ctrl-C, now or before.
    fn was_interrupted(&mut self) -> Result<bool, Failure> {
        let before = std::mem::replace(&mut self.interrupted, self.interrupts.look());
        if before == 0 && self.interrupted > 0 {
            self.story.tell(Happening::Interrupted)?;
        }
        Ok(self.interrupted > 0)
    }
}

/// Cuts the link that the primary path goes over.
fn cut_active_link(stage: &impl Stage, association: &Association) -> Result<Cut, Failure> {
    let addresses = stage.addresses();
    let [first, _] = addresses.server;
    let paths = association.paths();
    let address = paths.iter().find(|path| path.primary).map_or(first, |path| path.peer);
    let link = addresses.link_to(address);
    stage.cut(link)?;
    Ok(Cut { at: Instant::now(), link, address })
}
