//! Programs of others that run in a host: started, listened to, bounded in time, and ended by their process number.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use usctp::lab::Host;

use super::suite::Outcome;

/// Where Debian's package `libusrsctp-examples` puts usrsctp's programs.
const USRSCTP: &str = "/usr/lib/usrsctp";

/// What is kept of a program's output.
const OUTPUT_MAX: usize = 16 << 20;

/// Where one of usrsctp's programs is, if it is there.
pub(crate) fn usrsctp(program: &str) -> Option<PathBuf> {
    Some(Path::new(USRSCTP).join(program)).filter(|path| path.exists())
}

/// The first directory of `PATH` that has the program.
pub(crate) fn installed(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|directory| directory.join(program))
        .find(|file| file.is_file())
}

/// A running program; dropping it kills it.
pub(crate) struct Peer {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    output: Arc<Output>,
}

#[derive(Default)]
struct Output {
    text: Mutex<Text>,
    grown: Condvar,
}

#[derive(Default)]
struct Text {
    bytes: Vec<u8>,
    ended: bool,
}

impl Peer {
    /// Starts a program in a host. Its standard output is collected; usrsctp's programs trace every packet to
    /// standard error, which goes nowhere.
    pub(crate) fn start(host: &Host, program: &Path, arguments: &[&str]) -> Outcome<Self> {
        let mut command = bound_to_us(program);
        command.args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = host.start(command)?;
        let output = Arc::new(Output::default());
        let stdout = child.stdout.take().ok_or("the program has a standard output")?;
        let collected = Arc::clone(&output);
        thread::spawn(move || collect(stdout, &collected));
        let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Self { name, stdin: child.stdin.take(), child, output })
    }

    /// Starts one of usrsctp's servers and waits until it listens, on raw IP or on a UDP port.
    pub(crate) fn serve(
        host: &Host,
        program: &Path,
        arguments: &[&str],
        udp: bool,
    ) -> Outcome<Self> {
        let mut peer = Self::start(host, program, arguments)?;
        let deadline = Instant::now() + Duration::from_secs(10);
        while !has_socket(host, udp)? {
            if peer.child.try_wait()?.is_some() || Instant::now() > deadline {
                return Err(format!("{} does not listen: {}", peer.name, peer.text()).into());
            }
            sleep(Duration::from_millis(10));
        }
        // The sockets of the library come first and the listening follows at once; nothing tells when.
        sleep(Duration::from_millis(200));
        Ok(peer)
    }

    /// Writes to the program's standard input.
    pub(crate) fn write(&mut self, text: &[u8]) -> Outcome<()> {
        let stdin = self.stdin.as_mut().ok_or("its standard input is closed")?;
        stdin.write_all(text)?;
        Ok(stdin.flush()?)
    }

    /// Ends the program's standard input.
    pub(crate) fn end_input(&mut self) {
        self.stdin = None;
    }

    /// Interrupts the program, as Ctrl-C does.
    pub(crate) fn interrupt(&self) -> Outcome<()> {
        let id = Pid::from_raw(i32::try_from(self.child.id())?);
        Ok(kill(id, Signal::SIGINT)?)
    }

    /// All that the program wrote so far.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.output.lock().bytes).into_owned()
    }

    /// Waits until what the program wrote satisfies the condition, and gives it.
    pub(crate) fn wait_for(
        &self,
        what: &str,
        bound: Duration,
        condition: impl Fn(&str) -> bool,
    ) -> Outcome<String> {
        let deadline = Instant::now() + bound;
        let mut text = self.output.lock();
        loop {
            let so_far = String::from_utf8_lossy(&text.bytes).into_owned();
            if condition(&so_far) {
                return Ok(so_far);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || text.ended {
                let name = &self.name;
                return Err(
                    format!("{name} did not write {what} within {bound:?}: {so_far}").into()
                );
            }
            text = self
                .output
                .grown
                .wait_timeout(text, left)
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .0;
        }
    }

    /// Waits until the program ends by itself, and gives its status and all that it wrote.
    pub(crate) fn wait(&mut self, bound: Duration) -> Outcome<(ExitStatus, String)> {
        let deadline = Instant::now() + bound;
        let status = loop {
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            if Instant::now() > deadline {
                let (name, text) = (&self.name, self.text());
                return Err(format!("{name} runs on after {bound:?}: {text}").into());
            }
            sleep(Duration::from_millis(5));
        };
        let mut text = self.output.lock();
        while !text.ended {
            text = self.output.grown.wait(text).unwrap_or_else(std::sync::PoisonError::into_inner);
        }
        Ok((status, String::from_utf8_lossy(&text.bytes).into_owned()))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Output {
    fn lock(&self) -> std::sync::MutexGuard<'_, Text> {
        self.text.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// A command that the kernel ends with the thread that started it, and whose output comes as it is written; both by
/// programs that every Debian has, where they are there.
fn bound_to_us(program: &Path) -> Command {
    let mut words: Vec<PathBuf> = Vec::new();
    if let Some(setpriv) = installed("setpriv") {
        words.extend([setpriv, "--pdeathsig".into(), "KILL".into(), "--".into()]);
    }
    if let Some(stdbuf) = installed("stdbuf") {
        words.extend([stdbuf, "--output=0".into()]);
    }
    words.push(program.to_owned());
    let mut command = Command::new(words.remove(0));
    command.args(words);
    command
}

/// What is left of a line without usrsctp's trace. Another thread may have written between its pieces: what the servers
/// report of a message is kept.
fn without_trace(line: &[u8]) -> &[u8] {
    if !line.starts_with(b"[S][") && !line.starts_with(b"[P][") {
        return line;
    }
    let report = b"Msg of length ";
    let start = line.windows(report.len()).position(|window| window == report);
    start.map_or(&[], |start| &line[start..])
}

/// Collects lines, without those of usrsctp's trace of every packet (`[S][0.217] ...`), which is most of it.
fn collect(stdout: impl Read, output: &Output) {
    let mut lines = BufReader::with_capacity(1 << 16, stdout);
    loop {
        let mut line = Vec::new();
        let length = lines.read_until(b'\n', &mut line).unwrap_or(0);
        let line = without_trace(&line);
        if line.is_empty() && length > 0 {
            continue;
        }
        let mut text = output.lock();
        let room = OUTPUT_MAX.saturating_sub(text.bytes.len());
        text.bytes.extend_from_slice(&line[..line.len().min(room)]);
        text.ended = length == 0;
        output.grown.notify_all();
        if length == 0 {
            return;
        }
    }
}

/// Whether some process of the host has a raw socket for SCTP, or a UDP socket on port 9899.
fn has_socket(host: &Host, udp: bool) -> Outcome<bool> {
    // In both tables a line has the local address as hexadecimal digits, a colon, and the protocol or port so too.
    let (table, end) = if udp { ("udp", ":26AB ") } else { ("raw", ":0084 ") };
    let path = format!("/proc/thread-self/net/{table}");
    let sockets = host.run(move || std::fs::read_to_string(path))?;
    Ok(sockets.contains(end))
}
