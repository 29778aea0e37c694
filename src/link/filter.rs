//! Classic BPF programs: the kernel drops the packets of others before they are queued for us.

use libc::sock_filter;

use super::Family;
use super::ip::SCTP;

/// Ports that are told apart one by one; more are let through as one range (the stack drops what is
/// not its own).
const LISTED_PORTS: usize = 512;

const ACCEPT: sock_filter = statement(libc::BPF_RET | libc::BPF_K, u32::MAX);
const DROP: sock_filter = statement(libc::BPF_RET | libc::BPF_K, 0);

/// Accepts SCTP packets to the given destination ports, or to all ports.
pub(super) fn destination_ports(family: Family, ports: &[u16], all: bool) -> Vec<sock_filter> {
    if all {
        return vec![ACCEPT];
    }
    let (Some(least), Some(greatest)) = (ports.iter().min(), ports.iter().max()) else {
        return vec![DROP];
    };
    let half = libc::BPF_LD | libc::BPF_H;
    // The destination port is the second half-word of the common header (RFC 9260, section 3.1). An
    // IPv4 raw socket's packets begin with the IP header, an IPv6 raw socket's behind it.
    let mut program = match family {
        Family::V4 => vec![
            // X = 4 * (first octet & 0xf): the length of the IP header.
            statement(libc::BPF_LDX | libc::BPF_B | libc::BPF_MSH, 0),
            statement(half | libc::BPF_IND, 2),
        ],
        Family::V6 => vec![statement(half | libc::BPF_ABS, 2)],
    };
    if ports.len() <= LISTED_PORTS {
        for port in ports {
            program.push(jump(libc::BPF_JEQ, u32::from(*port), 0, 1));
            program.push(ACCEPT);
        }
        program.push(DROP);
    } else {
        program.push(jump(libc::BPF_JGE, u32::from(*least), 1, 0));
        program.push(DROP);
        program.push(jump(libc::BPF_JGT, u32::from(*greatest), 0, 1));
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
