//! What the commands that open an endpoint share: the stack and socket that the options ask for, and exit statuses for errors.

use std::fs::File;
use std::io::{self, Write};
use std::net::SocketAddr;

use usctp::{Error, LostReason, Options, Socket, Stack};

use crate::args::NetworkOptions;
use crate::exit::{Failure, Status};

/// Opens raw or UDP links, as the options say.
pub(crate) fn open(options: &NetworkOptions) -> Result<Stack, Failure> {
    let mut builder = match options.udp {
        Some(port) => Stack::builder().udp(port).udp_peer(options.udp_peer),
        None => Stack::builder().raw(),
    };
    if let Some(file) = &options.pcap {
        // Tried here, so that a file that must not be written is not taken for sockets that must not be opened.
        File::create(file).map_err(|error| {
            Failure::failed(format_args!("cannot write {}: {error}", file.display()))
        })?;
        builder = builder.capture(file);
    }
    let stack = builder.open()?;
    for warning in stack.warnings() {
        // Where nobody reads standard error, there is nobody to warn.
        let _ = writeln!(io::stderr(), "usctp: {warning}");
    }
    Ok(stack)
}

/// A socket for associations to these peers, from the addresses that the options say, or those that lead there.
pub(crate) fn bind_towards(
    stack: &Stack,
    port: Option<u16>,
    peers: &[SocketAddr],
    options: &NetworkOptions,
    endpoint: Options,
) -> Result<Socket, Failure> {
    let port = port.unwrap_or(0);
    Ok(match options.local.as_slice() {
        [] => stack.bind_towards(port, peers, endpoint)?,
        local => stack.bind(port, local, endpoint)?,
    })
}

/// `raw` or `udp`, as JSON says it.
pub(crate) fn transport(options: &NetworkOptions) -> &'static str {
    if options.udp.is_some() { "udp" } else { "raw" }
}

/// The parameters of the endpoint.
pub(crate) fn endpoint_options(options: &NetworkOptions) -> Options {
    let mut endpoint = Options::default();
    endpoint.limits.send_buffer = BUFFER;
    endpoint.limits.receive_buffer = BUFFER;
    endpoint.udp_port = options.udp.map(|_| options.udp_peer);
    endpoint
}

/// Bytes buffered for each association and direction.
const BUFFER: usize = 4 << 20;

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        if error.is_permission_denied() {
            let program = std::env::current_exe().unwrap_or_else(|_| "usctp".into());
            return Self::new(
                Status::NoPermission,
                format_args!(
                    "{error}\nRaw sockets need the capability CAP_NET_RAW. Ways out: --udp, which needs none; \
                     or once `sudo setcap cap_net_raw+ep {}`; or run it as root.",
                    program.display()
                ),
            );
        }
        let status = match &error {
            error if error.is_bad_address() || error.is_address_not_local() => Status::Usage,
            error if error.is_refused() => Status::Refused,
            error if error.is_timed_out() => Status::TimedOut,
            error if error.is_address_in_use() => Status::InUse,
            _ => Status::Failed,
        };
        match remedy(&error) {
            Some(remedy) => Self::new(status, format_args!("{error}\n{remedy}")),
            None => Self::new(status, error),
        }
    }
}

/// What the user can do about it, where it is not plain.
fn remedy(error: &Error) -> Option<&'static str> {
    match error {
        Error::Lost(LostReason::SetupTimeout | LostReason::Deadline | LostReason::Unreachable) => {
            Some(
                "Does an SCTP server listen there, with or without --udp as here? Does a firewall drop IP protocol 132, or \
             with --udp the UDP ports?",
            )
        }
        Error::Lost(LostReason::Refused { no_sctp: true, .. }) => {
            Some("That host speaks no SCTP over IP. If a server there encapsulates in UDP: --udp.")
        }
        Error::Lost(LostReason::Refused { .. }) => Some(
            "Does the server listen on this SCTP port? A refusal by one of several addresses: --on-refused next.",
        ),
        error if error.is_address_not_local() => Some(
            "`ip address` shows the addresses of this host; without --local, they are chosen by themselves.",
        ),
        error @ Error::Link(_) if error.is_address_in_use() => {
            Some("Another program has it, perhaps another usctp: end that, or take another port.")
        }
        _ => None,
    }
}
