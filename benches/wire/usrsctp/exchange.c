/*
 * Round trips, and associations set up and closed, with usrsctp and its blocking calls: what its own tsctp does not
 * measure.
 *
 *   exchange serve   LOCAL UDP                  echoes every message (UDP: 0 for raw IP, 1 for port 9899)
 *   exchange latency LOCAL UDP PEER SECONDS     prints: round trips, seconds, median and 99th percentile in us
 *   exchange setup   LOCAL UDP PEER SECONDS     prints: associations, seconds, median and 99th percentile in us
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <usrsctp.h>

enum { PORT = 5001, UDP_PORT = 9899, SIZE = 64 };

static double now(void)
{
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec + time.tv_nsec / 1e9;
}

static void check(int failed, const char *what)
{
	if (failed) {
		perror(what);
		exit(1);
	}
}

static struct sockaddr_in address(const char *text, int port)
{
	struct sockaddr_in address;
	memset(&address, 0, sizeof(address));
	address.sin_family = AF_INET;
	address.sin_port = htons(port);
	check(inet_pton(AF_INET, text, &address.sin_addr) != 1, text);
	return address;
}

static struct socket *bound(const char *local, int udp, int port)
{
	struct sockaddr_in own = address(local, port);
	struct sctp_udpencaps encaps;
	int on = 1;
	struct socket *sock = usrsctp_socket(AF_INET, SOCK_STREAM, IPPROTO_SCTP, NULL, NULL, 0, NULL);
	check(sock == NULL, "socket");
	if (udp) {
		memset(&encaps, 0, sizeof(encaps));
		encaps.sue_address.ss_family = AF_INET;
		encaps.sue_port = htons(UDP_PORT);
		check(usrsctp_setsockopt(sock, IPPROTO_SCTP, SCTP_REMOTE_UDP_ENCAPS_PORT, &encaps, sizeof(encaps)) < 0,
		      "encapsulation");
	}
	check(usrsctp_setsockopt(sock, IPPROTO_SCTP, SCTP_NODELAY, &on, sizeof(on)) < 0, "no delay");
	check(usrsctp_bind(sock, (struct sockaddr *)&own, sizeof(own)) < 0, "bind");
	return sock;
}

static ssize_t receive(struct socket *sock, char *buffer)
{
	int flags;
	ssize_t length;
	do {
		struct sockaddr_in from;
		struct sctp_recvv_rn info;
		socklen_t from_length = sizeof(from), info_length = sizeof(info);
		unsigned int kind = 0;
		flags = 0;
		length = usrsctp_recvv(sock, buffer, SIZE, (struct sockaddr *)&from, &from_length, &info, &info_length,
		                       &kind, &flags);
	} while (length > 0 && (flags & MSG_NOTIFICATION));
	return length;
}

static int send_one(struct socket *sock, const char *buffer, size_t length)
{
	return usrsctp_sendv(sock, buffer, length, NULL, 0, NULL, 0, SCTP_SENDV_NOINFO, 0) < 0;
}

static void serve(const char *local, int udp)
{
	char buffer[SIZE];
	ssize_t length;
	struct socket *listener = bound(local, udp, PORT);
	check(usrsctp_listen(listener, 1024) < 0, "listen");
	puts("listening");
	fflush(stdout);
	for (;;) {
		struct socket *sock = usrsctp_accept(listener, NULL, NULL);
		if (sock == NULL)
			continue;
		while ((length = receive(sock, buffer)) > 0)
			if (send_one(sock, buffer, length))
				break;
		usrsctp_close(sock);
	}
}

static struct socket *connected(const char *local, int udp, const char *peer)
{
	struct sockaddr_in to = address(peer, PORT);
	struct socket *sock = bound(local, udp, 0);
	check(usrsctp_connect(sock, (struct sockaddr *)&to, sizeof(to)) < 0, "connect");
	return sock;
}

static void disconnect(struct socket *sock)
{
	char buffer[SIZE];
	usrsctp_shutdown(sock, SHUT_WR);
	/* The end of the association is the end of what can be received. */
	while (receive(sock, buffer) > 0)
		;
	usrsctp_close(sock);
}

static int ascending(const void *one, const void *other)
{
	double a = *(const double *)one, b = *(const double *)other;
	return (a > b) - (a < b);
}

int main(int count, char **arguments)
{
	char buffer[SIZE];
	double *times, begun, before, after, end;
	size_t done = 0, room = 1 << 24;
	struct socket *sock = NULL;
	int udp, latency;

	if (count < 4)
		return 2;
	udp = atoi(arguments[3]);
	usrsctp_init(udp ? UDP_PORT : 0, NULL, NULL);
	usrsctp_sysctl_set_sctp_blackhole(2);
	usrsctp_sysctl_set_sctp_no_csum_on_loopback(0);
	if (strcmp(arguments[1], "serve") == 0)
		serve(arguments[2], udp);
	if (count < 6)
		return 2;
	latency = strcmp(arguments[1], "latency") == 0;
	times = malloc(room * sizeof(*times));
	check(times == NULL, "memory");
	memset(buffer, 'a', sizeof(buffer));
	if (latency)
		sock = connected(arguments[2], udp, arguments[4]);
	begun = after = now();
	end = begun + atof(arguments[5]);
	while (after < end && done < room) {
		before = after;
		if (latency) {
			check(send_one(sock, buffer, SIZE), "send");
			check(receive(sock, buffer) != SIZE, "receive");
		} else {
			disconnect(connected(arguments[2], udp, arguments[4]));
		}
		after = now();
		times[done++] = after - before;
	}
	qsort(times, done, sizeof(*times), ascending);
	printf("%zu %f %f %f\n", done, after - begun, times[done / 2] * 1e6, times[done * 99 / 100] * 1e6);
	fflush(stdout);
	/* What is still open ends with the process. */
	_Exit(0);
}
