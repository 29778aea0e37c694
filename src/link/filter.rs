//! Classic BPF programs: the kernel drops the packets of others before they are queued for us.

use libc::sock_filter;

use super::Family;
use super::ip::SCTP;

/// Ports that are told apart one by one; more are let through as one range (the stack drops what is
/// not its own).
const LISTED_PORTS: usize = 512;

const ACCEPT: sock_filter = statement(libc::BPF_RET | libc::BPF_K, u32::MAX);
const DROP: sock_filter = statement(libc::BPF_RET | libc::BPF_K, 0);

/// Which packets are wanted by their verification tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tags {
    /// All.
    Any,
    /// Those with tag 0: INITs (RFC 9260, section 8.5.1, A).
    Zero,
    /// The others.
    NotZero,
}

/// Accepts SCTP packets to the given destination ports, or to all ports, with such tags.
pub(super) fn packets(family: Family, ports: &[u16], all: bool, tags: Tags) -> Vec<sock_filter> {
    if ports.is_empty() && !all {
        return vec![DROP];
    }
    // An IPv4 raw socket's packets begin with the IP header, an IPv6 raw socket's behind it.
    let (mut program, mode) = match family {
        // X = 4 * (first octet & 0xf): the length of the IP header.
        Family::V4 => {
            (vec![statement(libc::BPF_LDX | libc::BPF_B | libc::BPF_MSH, 0)], libc::BPF_IND)
        }
        Family::V6 => (Vec::new(), libc::BPF_ABS),
    };
    // The verification tag is the second word of the common header, and the destination port its second half-word
    // (RFC 9260, section 3.1).
    let tag = statement(libc::BPF_LD | libc::BPF_W | mode, 4);
    match tags {
        Tags::Any => {}
        Tags::Zero => program.extend([tag, jump(libc::BPF_JEQ, 0, 1, 0), DROP]),
        Tags::NotZero => program.extend([tag, jump(libc::BPF_JEQ, 0, 0, 1), DROP]),
    }
    if all {
        program.push(ACCEPT);
        return program;
    }
    program.push(statement(libc::BPF_LD | libc::BPF_H | mode, 2));
    if ports.len() <= LISTED_PORTS {
        for port in ports {
            program.push(jump(libc::BPF_JEQ, u32::from(*port), 0, 1));
            program.push(ACCEPT);
        }
        program.push(DROP);
    } else {
        let (least, greatest) = (ports.iter().min(), ports.iter().max());
        program.push(jump(libc::BPF_JGE, least.map_or(0, |port| u32::from(*port)), 1, 0));
        program.push(DROP);
        program.push(jump(libc::BPF_JGT, greatest.map_or(0, |port| u32::from(*port)), 0, 1));
        program.push(DROP);
        program.push(ACCEPT);
    }
    program
}

/// Accepts ICMP errors that quote an SCTP packet; for IPv6 only such where SCTP follows the IPv6
/// header at once, as it does in all packets of ours.
pub(super) fn quotes_sctp(family: Family) -> Vec<sock_filter> {
    let mut program = match family {
        Family::V4 => vec![
            // Behind the outer header come 8 octets of ICMP and the quoted header, its protocol at
            // octet 9.
            statement(libc::BPF_LDX | libc::BPF_B | libc::BPF_MSH, 0),
            statement(libc::BPF_LD | libc::BPF_B | libc::BPF_IND, 8 + 9),
        ],
        // 8 octets of ICMPv6 and the quoted header, its next header at octet 6.
        Family::V6 => vec![statement(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, 8 + 6)],
    };
    program.extend([jump(libc::BPF_JEQ, u32::from(SCTP), 0, 1), ACCEPT, DROP]);
    program
}

const fn statement(code: u32, k: u32) -> sock_filter {
    // All codes lie below 0x100.
    sock_filter { code: code as u16, jt: 0, jf: 0, k }
}

const fn jump(test: u32, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code: (libc::BPF_JMP | libc::BPF_K | test) as u16, jt, jf, k }
}
