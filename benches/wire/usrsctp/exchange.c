/*
 * Round trips, and associations set up and closed, with usrsctp: what its own tsctp does not measure.
 *
 *   exchange serve      LOCAL UDP                       echoes every message (UDP: 0 for raw IP, 1 for port 9899)
 *   exchange serve-many LOCAL UDP                       takes associations and closes them when their peers do
 *   exchange latency    LOCAL UDP PEER SECONDS          prints: round trips, seconds, median and 99th percentile in us
 *   exchange setup      LOCAL UDP PEER SECONDS          prints: associations, seconds, median and 99th percentile in us
 *   exchange setup-many LOCAL UDP PEER SECONDS NUMBER   the same with so many on their way at any time
 *
 * The first of either kind uses blocking calls; "many" has non-blocking sockets whose upcalls, from usrsctp's own
 * threads, tell the one thread of the application which of them to look at.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
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

/* One end of an association that the application waits for; never freed, since a late upcall may still name it. */
struct end {
	struct socket *sock;
	int closing;
	double begun;
	/* Whether it is in the queue of those to look at, and what follows it there. */
	int queued;
	struct end *next;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t filled = PTHREAD_COND_INITIALIZER;
static struct end *first, **last = &first;

static void upcall(struct socket *sock, void *argument, int flags)
{
	struct end *end = argument;
	(void)sock;
	(void)flags;
	pthread_mutex_lock(&lock);
	if (!end->queued) {
		end->queued = 1;
		end->next = NULL;
		*last = end;
		last = &end->next;
		pthread_cond_signal(&filled);
	}
	pthread_mutex_unlock(&lock);
}

/* Waits for the next one to look at. */
static struct end *take(void)
{
	struct end *end;
	pthread_mutex_lock(&lock);
	while (first == NULL)
		pthread_cond_wait(&filled, &lock);
	end = first;
	first = end->next;
	if (first == NULL)
		last = &first;
	end->queued = 0;
	pthread_mutex_unlock(&lock);
	return end;
}

static void watch(struct end *end, struct socket *sock)
{
	end->sock = sock;
	check(usrsctp_set_non_blocking(sock, 1) < 0, "non-blocking");
	check(usrsctp_set_upcall(sock, upcall, end) < 0, "upcall");
}

/* Whether all was read and the end of the association with it. */
static int has_ended(struct end *end)
{
	char buffer[SIZE];
	ssize_t length;
	do
		length = receive(end->sock, buffer);
	while (length > 0);
	return length == 0 || (errno != EWOULDBLOCK && errno != EAGAIN);
}

static void serve_many(const char *local, int udp)
{
	static struct end listener;
	struct end *end;
	struct socket *sock;
	watch(&listener, bound(local, udp, PORT));
	check(usrsctp_listen(listener.sock, 1024) < 0, "listen");
	puts("listening");
	fflush(stdout);
	for (;;) {
		end = take();
		if (end != &listener) {
			if (end->sock != NULL && has_ended(end)) {
				usrsctp_close(end->sock);
				end->sock = NULL;
			}
			continue;
		}
		while ((sock = usrsctp_accept(listener.sock, NULL, NULL)) != NULL) {
			check((end = calloc(1, sizeof(*end))) == NULL, "memory");
			watch(end, sock);
			/* What came before the upcall was set. */
			upcall(sock, end, 0);
		}
	}
}

static void begin(struct end *end, const char *local, int udp, const char *peer)
{
	struct sockaddr_in to = address(peer, PORT);
	struct socket *sock = bound(local, udp, 0);
	end->begun = now();
	end->closing = 0;
	watch(end, sock);
	check(usrsctp_connect(sock, (struct sockaddr *)&to, sizeof(to)) < 0 && errno != EINPROGRESS, "connect");
}

/* Sets up and closes associations until a time, so many at once: how many, their times, and when the last ended. */
static size_t setup_many(char **arguments, double end_time, int number, double *times, size_t room, double *after)
{
	int udp = atoi(arguments[3]), index;
	struct end *ends = calloc(number, sizeof(*ends));
	size_t done = 0;
	check(ends == NULL, "memory");
	for (index = 0; index < number; index++)
		begin(&ends[index], arguments[2], udp, arguments[4]);
	while (*after < end_time && done < room) {
		struct end *end = take();
		int events = usrsctp_get_events(end->sock);
		check(events & SCTP_EVENT_ERROR, "association");
		if (!end->closing && (events & SCTP_EVENT_WRITE)) {
			end->closing = 1;
			usrsctp_shutdown(end->sock, SHUT_WR);
		}
		if (!end->closing || !has_ended(end))
			continue;
		usrsctp_close(end->sock);
		*after = now();
		times[done++] = *after - end->begun;
		begin(end, arguments[2], udp, arguments[4]);
	}
	return done;
}

static int ascending(const void *one, const void *other)
{
	double a = *(const double *)one, b = *(const double *)other;
	return (a > b) - (a < b);
}

/* Round trips over one association, or associations one after the other: as setup_many. */
static size_t one_by_one(char **arguments, double end, double *times, size_t room, double *after)
{
	int udp = atoi(arguments[3]), latency = strcmp(arguments[1], "latency") == 0;
	struct socket *sock = latency ? connected(arguments[2], udp, arguments[4]) : NULL;
	char buffer[SIZE];
	size_t done = 0;
	memset(buffer, 'a', sizeof(buffer));
	while (*after < end && done < room) {
		double before = *after;
		if (latency) {
			check(send_one(sock, buffer, SIZE), "send");
			check(receive(sock, buffer) != SIZE, "receive");
		} else {
			disconnect(connected(arguments[2], udp, arguments[4]));
		}
		*after = now();
		times[done++] = *after - before;
	}
	return done;
}

int main(int count, char **arguments)
{
	double *times, begun, after, end;
	size_t done, room = 1 << 24;
	int udp;

	if (count < 4)
		return 2;
	udp = atoi(arguments[3]);
	usrsctp_init(udp ? UDP_PORT : 0, NULL, NULL);
	usrsctp_sysctl_set_sctp_blackhole(2);
	usrsctp_sysctl_set_sctp_no_csum_on_loopback(0);
	if (strcmp(arguments[1], "serve") == 0)
		serve(arguments[2], udp);
	if (strcmp(arguments[1], "serve-many") == 0)
		serve_many(arguments[2], udp);
	if (count < 6)
		return 2;
	times = malloc(room * sizeof(*times));
	check(times == NULL, "memory");
	begun = after = now();
	end = begun + atof(arguments[5]);
	if (count > 6)
		done = setup_many(arguments, end, atoi(arguments[6]), times, room, &after);
	else
		done = one_by_one(arguments, end, times, room, &after);
	qsort(times, done, sizeof(*times), ascending);
	printf("%zu %f %f %f\n", done, after - begun, times[done / 2] * 1e6, times[done * 99 / 100] * 1e6);
	fflush(stdout);
	/* What is still open ends with the process. */
	_Exit(0);
}
