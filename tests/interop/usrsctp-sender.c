/* Sends numbered messages over usrsctp to several addresses of a peer, with the parameters that decide a failover.
 *
 *   usrsctp-sender PORT MESSAGES INTERVAL RTO_MIN RTO_INITIAL RTO_MAX PATH_MAX HEARTBEAT PF PEER...     (milliseconds)
 *
 * PF is the threshold of RFC 7829, or 65535 for none. usrsctp's own programs set none of these. It prints the peer's
 * addresses as usrsctp has them once the association is up, and closes gracefully. A message is a function of its number,
 * the same as in tests/support/payload.rs.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <usrsctp.h>

enum { LENGTH = 1200, PEERS_MAX = 8, ARGUMENTS = 10 };

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static void pause_for(long milliseconds)
{
	const struct timespec time = { milliseconds / 1000, milliseconds % 1000 * 1000000 };
	nanosleep(&time, NULL);
}

static void set_parameters(char **word)
{
	usrsctp_sysctl_set_sctp_rto_min_default(atoi(word[4]));
	usrsctp_sysctl_set_sctp_rto_initial_default(atoi(word[5]));
	usrsctp_sysctl_set_sctp_rto_max_default(atoi(word[6]));
	usrsctp_sysctl_set_sctp_init_rto_max_default(atoi(word[6]));
	usrsctp_sysctl_set_sctp_path_rtx_max_default(atoi(word[7]));
	usrsctp_sysctl_set_sctp_heartbeat_interval_default(atoi(word[8]));
	usrsctp_sysctl_set_sctp_path_pf_threshold(atoi(word[9]));
}

/* connectx does not wait. */
static void wait_until_up(struct socket *socket)
{
	struct sctp_status status;
	do {
		socklen_t length = sizeof status;
		memset(&status, 0, sizeof status);
		pause_for(5);
		if (usrsctp_getsockopt(socket, IPPROTO_SCTP, SCTP_STATUS, &status, &length) < 0)
			fail("SCTP_STATUS");
	} while (status.sstat_state != SCTP_ESTABLISHED);
}

static void print_peer(struct socket *socket)
{
	struct sockaddr *addresses;
	int count = usrsctp_getpaddrs(socket, 0, &addresses);
	if (count < 0)
		fail("getpaddrs");
	for (int i = 0; i < count; i++) {
		char text[INET_ADDRSTRLEN];
		/* The sockets are of IPv4. */
		inet_ntop(AF_INET, &((struct sockaddr_in *)addresses)[i].sin_addr, text, sizeof text);
		printf("peer %s\n", text);
	}
	printf("up\n");
	fflush(stdout);
}

static void send_number(struct socket *socket, unsigned long number)
{
	unsigned char message[LENGTH];
	const unsigned long start = number * 131;
	for (unsigned long at = 0; at < LENGTH; at++)
		message[at] = at ^ at >> 8 ^ start ^ start >> 8;
	if (usrsctp_sendv(socket, message, sizeof message, NULL, 0, NULL, 0, SCTP_SENDV_NOINFO, 0) < 0)
		fail("send");
}

int main(int count, char **word)
{
	struct sockaddr_in peers[PEERS_MAX];
	const int on = 1, peer_count = count - ARGUMENTS;
	struct socket *socket;

	if (peer_count < 1 || peer_count > PEERS_MAX)
		return 2;
	memset(peers, 0, sizeof peers);
	for (int i = 0; i < peer_count; i++) {
		peers[i].sin_family = AF_INET;
		peers[i].sin_port = htons(atoi(word[1]));
		if (inet_pton(AF_INET, word[ARGUMENTS + i], &peers[i].sin_addr) != 1)
			return 2;
	}
	usrsctp_init(0, NULL, NULL);
	set_parameters(word);
	socket = usrsctp_socket(AF_INET, SOCK_STREAM, IPPROTO_SCTP, NULL, NULL, 0, NULL);
	if (!socket)
		fail("socket");
	if (usrsctp_setsockopt(socket, IPPROTO_SCTP, SCTP_NODELAY, &on, sizeof on) < 0)
		fail("SCTP_NODELAY");
	if (usrsctp_connectx(socket, (struct sockaddr *)peers, peer_count, NULL) < 0)
		fail("connectx");
	wait_until_up(socket);
	print_peer(socket);
	for (int number = 0; number < atoi(word[2]); number++) {
		send_number(socket, number);
		if (atoi(word[3]) > 0)
			pause_for(atoi(word[3]));
	}
	usrsctp_close(socket);
	while (usrsctp_finish() != 0)
		pause_for(10);
	return 0;
}
