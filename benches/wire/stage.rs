//! Two hosts, or one with itself, as a case wants them.

use std::io::Write;
use std::net::IpAddr;
use std::process::{Command, Stdio};

use usctp::lab::{Host, Lab, Link, LinkOptions};

use crate::Outcome;
use crate::case::{Case, Way};

/// Where a case is played.
pub(crate) struct Stage {
    near: Host,
    /// The second host, unless the first talks to itself.
    far: Option<Host>,
    /// Holds the interfaces.
    _link: Option<Link>,
    interface: &'static str,
    pub(crate) client: IpAddr,
    pub(crate) server: IpAddr,
}

/// What an interface has sent.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Traffic {
    pub(crate) packets: u64,
}

impl Stage {
    pub(crate) fn new(lab: &Lab, case: &Case) -> Outcome<Self> {
        let near = lab.host("client")?;
        if case.way.is_loopback() {
            // An interface of 65,536 bytes that has all of 127.0.0.0/8, as every host has.
            let [client, server] = [1, 2].map(|last| IpAddr::from([127, 0, 0, last]));
            let stage = Self { near, far: None, _link: None, interface: "lo", client, server };
            stage.lose(case.loss)?;
            return Ok(stage);
        }
        let far = lab.host("server")?;
        let [client, server] = [1_u16, 2].map(|last| match case.way {
            Way::Raw6 => IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, last]),
            _ => IpAddr::from([10, 0, 0, last.to_be_bytes()[1]]),
        });
        let prefix = |address: IpAddr| format!("{address}/24").parse();
        let options = LinkOptions {
            name: "link".to_owned(),
            near: vec![prefix(client)?],
            far: vec![prefix(server)?],
            mtu: Some(case.mtu),
            ..LinkOptions::default()
        };
        let link = near.link(&far, options)?;
        let stage =
            Self { near, far: Some(far), _link: Some(link), interface: "link", client, server };
        if case.way == Way::UdpCut {
            stage.cut_before_sending()?;
        }
        stage.lose(case.loss)?;
        Ok(stage)
    }

    pub(crate) fn near(&self) -> &Host {
        &self.near
    }

    pub(crate) fn far(&self) -> &Host {
        self.far.as_ref().unwrap_or(&self.near)
    }

    /// What the client's interface has sent so far; what is cut up later counts as one.
    pub(crate) fn traffic(&self) -> Outcome<Traffic> {
        let table = self.near.run(|| std::fs::read_to_string("/proc/thread-self/net/dev"))?;
        let line = table
            .lines()
            .find_map(|line| line.trim_start().strip_prefix(self.interface)?.strip_prefix(':'))
            .ok_or("the interface is listed")?;
        // Eight columns of what was received, then bytes and packets sent.
        let packets = line.split_whitespace().nth(9).ok_or("packets sent are listed")?;
        Ok(Traffic { packets: packets.parse()? })
    }

    fn cut_before_sending(&self) -> Outcome<()> {
        for host in [self.near(), self.far()] {
            let mut command = Command::new("ethtool");
            command.args(["-K", self.interface, "gso", "off", "tx-udp-segmentation", "off"]);
            succeed(host, command, "")?;
        }
        Ok(())
    }

    /// Loses packets that come in at the server, so many of ten thousand.
    fn lose(&self, loss: u32) -> Outcome<()> {
        if loss == 0 {
            return Ok(());
        }
        let rules = format!(
            "table inet loss {{\nchain input {{\ntype filter hook input priority 0;\n\
             meta l4proto {{ 132, 17, 253 }} numgen random mod 10000 < {loss} drop\n}}\n}}\n"
        );
        let mut command = Command::new("nft");
        command.args(["-f", "-"]);
        succeed(self.far(), command, &rules)
    }
}

fn succeed(host: &Host, mut command: Command, input: &str) -> Outcome<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = host.start(command).map_err(|error| format!("{program}: {error}"))?;
    child.stdin.take().unwrap().write_all(input.as_bytes())?;
    let output = child.wait_with_output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr)).into())
}
