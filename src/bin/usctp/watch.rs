//! A live view of an association's paths: who answers, how fast, and where the bytes go.

mod draw;
mod view;

use std::collections::VecDeque;
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::{DefaultTerminal, restore, try_init};
use usctp::{Association, PathStatus};

use self::view::View;
use crate::exit::{Failure, Status};
use crate::interrupt::{Interrupter, Request};
use crate::peer::Peer;

/// What is to be seen at a moment.
#[derive(Debug)]
struct Snapshot {
    /// Every address of the peer.
    paths: Vec<PathStatus>,
    /// Payload bytes since the beginning, as the application counts them.
    bytes: u64,
}

/// A running view; dropping it gives the terminal back and prints what was logged.
#[derive(Debug)]
pub(crate) struct Watch {
    log: Log,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Lines that the view shows below the paths, instead of their being written across it.
#[derive(Debug, Clone)]
pub(crate) struct Log {
    started: Instant,
    lines: Arc<Mutex<VecDeque<String>>>,
}

impl Watch {
    /// Whether there is a terminal to draw on; to be asked before anything is begun.
    pub(crate) fn check() -> Result<(), Failure> {
        if io::stdout().is_terminal() {
            return Ok(());
        }
        let message = "--watch draws on a terminal, and standard output is none; --json tells the events of the paths to \
                       files and programs";
        Err(Failure::new(Status::Usage, message))
    }

    /// Shows an association that a command opened to a port of these addresses.
    ///
    /// `quit` gets a request for each q, Escape or Ctrl-C, as for a signal, and the view goes on: it is to show the close.
    pub(crate) fn association(
        association: &Arc<Association>,
        (command, port, addresses): (&str, u16, &[Peer]),
        quit: Interrupter,
    ) -> Result<Self, Failure> {
        let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        let title = format!("usctp {command} --port {port} {}", addresses.join(" "));
        let association = Arc::clone(association);
        let look = move || {
            let statistics = association.statistics();
            let bytes = statistics.bytes_sent + statistics.bytes_received;
            Snapshot { paths: association.paths(), bytes }
        };
        Self::start(title, look, quit)
    }

    /// Takes the terminal and draws what `look` gives, several times a second.
    fn start(
        title: String,
        mut look: impl FnMut() -> Snapshot + Send + 'static,
        quit: Interrupter,
    ) -> Result<Self, Failure> {
        Self::check()?;
        let log = Log { started: Instant::now(), lines: Arc::default() };
        let stop = Arc::new(AtomicBool::new(false));
        let mut terminal = try_init().map_err(|error| {
            Failure::failed(format_args!("cannot draw on the terminal: {error}"))
        })?;
        TAKEN.store(true, Ordering::SeqCst);
        stop_at_panic(Arc::clone(&stop));
        let mut view = View::new(title, log.started);
        let (lines, stopped) = (log.clone(), Arc::clone(&stop));
        let draw = move || {
            while !stopped.load(Ordering::SeqCst) {
                view.sample(Instant::now(), look(), &lines);
                if turn(&mut terminal, &view, &quit).is_err() {
                    // The terminal is gone: as if the user had gone.
                    quit.ask(Request::Interrupt);
                    return;
                }
            }
        };
        let thread = thread::Builder::new().name("watch".to_owned()).spawn(draw);
        if thread.is_err() {
            give_back_terminal();
        }
        Ok(Self { log, stop, thread: Some(thread?) })
    }

    /// Where lines go that must not be written across the view.
    pub(crate) fn log(&self) -> Log {
        self.log.clone()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            // If it panicked, the message was printed.
            let _ = thread.join();
        }
        give_back_terminal();
        for line in self.log.lock().iter() {
            // Where nobody reads standard error, there is nobody to tell.
            let _ = writeln!(io::stderr(), "usctp: {line}");
        }
    }
}

impl Log {
    /// Adds a line, in the place of the oldest if there are many.
    pub(crate) fn add(&self, line: &str) {
        let at = self.started.elapsed().as_secs_f64();
        let mut lines = self.lock();
        if lines.len() == LOG_LINES {
            lines.pop_front();
        }
        lines.push_back(format!("{at:7.2} s  {line}"));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<String>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends the view from outside, before the process ends in a hurry; nothing if there is no view.
pub(crate) fn give_back_terminal() {
    if TAKEN.swap(false, Ordering::SeqCst) {
        restore();
    }
}

/// Whether the terminal shows the view.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// A panic anywhere gives the terminal back (ratatui's own hook does that) and is then not drawn over.
fn stop_at_panic(stop: Arc<AtomicBool>) {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        stop.store(true, Ordering::SeqCst);
        before(panic);
    }));
}

/// Draws once and takes the keys that are pressed until it is time to draw again.
fn turn(terminal: &mut DefaultTerminal, view: &View, quit: &Interrupter) -> io::Result<()> {
    terminal.draw(|frame| draw::draw(frame, view))?;
    let next = Instant::now() + TURN;
    loop {
        let left = next.saturating_duration_since(Instant::now());
        if !event::poll(left)? {
            return Ok(());
        }
        match event::read()? {
            Event::Key(key) if asks_to_quit(key) => {
                quit.ask(Request::Interrupt);
            }
            Event::Resize(..) => return Ok(()),
            _ => {}
        }
    }
}

/// In the mode that a view needs, Ctrl-C is a key like any other.
fn asks_to_quit(key: KeyEvent) -> bool {
    let interrupt = key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c');
    let quit = matches!(key.code, KeyCode::Char('q' | 'Q') | KeyCode::Esc);
    key.kind == KeyEventKind::Press && (interrupt || quit)
}

/// How long a drawing stands.
const TURN: Duration = Duration::from_millis(250);

/// How many lines are kept for the end.
const LOG_LINES: usize = 100;
