//! `usctp perf`: goodput, round-trip times, or associations per second, between a client and a server.

mod client;
mod histogram;
mod report;
mod server;

use std::time::Duration;

use usctp::Options;

use self::client::Client;
use self::report::Reporter;
use self::server::Server;
use crate::args::{PerfMode, PerfOptions};
use crate::exit::{Failure, Status};
use crate::watch::Watch;
use crate::{interrupt, network, peer};

/// The payload protocol identifier of messages that the server sends back ("echo" in ASCII); others it only counts.
const ECHO: u32 = 0x6563_686f;

/// Serves until interrupted, or measures for as long as the options say.
pub(crate) fn run(options: &PerfOptions) -> Result<(), Failure> {
    if options.watch {
        if options.mode == PerfMode::Setup {
            let message =
                "--watch shows the paths of one association, and in mode setup none stays";
            return Err(Failure::new(Status::Usage, message));
        }
        Watch::check()?;
    }
    if options.parallel > 1 && options.mode != PerfMode::Setup {
        let message = "--parallel is for --mode setup; other modes measure one association";
        return Err(Failure::new(Status::Usage, message));
    }
    let peers = peer::resolve(&options.addresses, options.port, &options.network.local)?;
    let stack = network::open(&options.network)?;
    let (quit, interrupts) = interrupt::interrupts_and_interrupter(options.network.close_within)?;
    let reporter = Reporter::new(options.network.json, options.recovery, &stack);
    if options.server {
        let socket = stack.bind(options.port, &options.network.local, endpoint_options(options))?;
        let transport = network::transport(&options.network);
        return Server::new(&stack, &socket, reporter).serve(transport, interrupts);
    }
    let bind = |number: u16| {
        // Ports beyond the last one: any that is free.
        let port = options.local_port.and_then(|first| first.checked_add(number));
        network::bind_towards(&stack, port, &peers, &options.network, endpoint_options(options))
    };
    let sockets = (0..options.parallel).map(bind).collect::<Result<Vec<_>, _>>()?;
    Client::new(options, &sockets, &peers, reporter, interrupts).measure(quit)
}

fn endpoint_options(options: &PerfOptions) -> Options {
    let mut endpoint = network::endpoint_options(&options.network);
    endpoint.recovery = options.recovery.chosen();
    if let Some(mtu) = options.path_mtu {
        endpoint.path_mtu = mtu;
        endpoint.pmtud.max = Some(mtu);
    }
    if options.watch {
        endpoint.heartbeat.interval = Some(Duration::from_secs(1));
    }
    endpoint
}
