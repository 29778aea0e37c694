/* Sends messages at a steady pace over usrsctp, to several addresses of a peer, with the parameters that decide a failover.
 *
 *   usrsctp-sender PORT SECONDS RTO_MIN RTO_INITIAL RTO_MAX PATH_MAX HEARTBEAT PF PEER...      (times in milliseconds)
 *
 * PF is the threshold of RFC 7829, or 65535 for none. usrsctp's own programs set none of these.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <usrsctp.h>

enum { LENGTH = 1200, INTERVAL = 10, PEERS_MAX = 8 };

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static struct socket *open_socket(void)
{
	const int on = 1;
	struct socket *socket = usrsctp_socket(AF_INET, SOCK_STREAM, IPPROTO_SCTP, NULL, NULL, 0, NULL);
	if (!socket)
		fail("socket");
	if (usrsctp_setsockopt(socket, IPPROTO_SCTP, SCTP_NODELAY, &on, sizeof on) < 0)
		fail("SCTP_NODELAY");
	return socket;
}

static void pause_for(long milliseconds)
{
	const struct timespec time = { milliseconds / 1000, milliseconds % 1000 * 1000000 };
	nanosleep(&time, NULL);
}

int main(int count, char **word)
{
	struct sockaddr_in peers[PEERS_MAX];
	char message[LENGTH];
	struct socket *socket;
	int peer_count = count - 9;
	time_t end;

	if (peer_count < 1 || peer_count > PEERS_MAX)
		return 2;
	usrsctp_init(0, NULL, NULL);
	usrsctp_sysctl_set_sctp_rto_min_default(atoi(word[3]));
	usrsctp_sysctl_set_sctp_rto_initial_default(atoi(word[4]));
	usrsctp_sysctl_set_sctp_rto_max_default(atoi(word[5]));
	usrsctp_sysctl_set_sctp_init_rto_max_default(atoi(word[5]));
	usrsctp_sysctl_set_sctp_path_rtx_max_default(atoi(word[6]));
	usrsctp_sysctl_set_sctp_heartbeat_interval_default(atoi(word[7]));
	usrsctp_sysctl_set_sctp_path_pf_threshold(atoi(word[8]));
	memset(peers, 0, sizeof peers);
	memset(message, 'x', sizeof message);
	for (int i = 0; i < peer_count; i++) {
		peers[i].sin_family = AF_INET;
		peers[i].sin_port = htons(atoi(word[1]));
		if (inet_pton(AF_INET, word[9 + i], &peers[i].sin_addr) != 1)
			return 2;
	}
	socket = open_socket();
	if (usrsctp_connectx(socket, (struct sockaddr *)peers, peer_count, NULL) < 0)
		fail("connectx");
	/* connectx does not wait (the manual page: poll for writability). */
	pause_for(500);
	end = time(NULL) + atoi(word[2]);
	while (time(NULL) < end) {
		if (usrsctp_sendv(socket, message, sizeof message, NULL, 0, NULL, 0, SCTP_SENDV_NOINFO, 0) < 0)
			fail("send");
		pause_for(INTERVAL);
	}
	usrsctp_close(socket);
	return 0;
}
