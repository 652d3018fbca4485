/* SPDX-License-Identifier: Apache-2.0 */
#include "net/relay_udp.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "net/upstream.h"

enum { TRIES_MAX = 3, WAIT_MS = 2000 };

void udp_relay_init(struct udp_relay *relay, int keeper, int sock, struct names *names)
{
	relay->keeper = keeper;
	relay->sock = sock;
	relay->names = names;
	for (unsigned i = 0; i < UDP_QUERIES_MAX; i++)
		relay->queries[i].fd = -1;
}

static struct udp_query *find_place(struct udp_relay *relay)
{
	for (unsigned i = 0; i < UDP_QUERIES_MAX; i++)
		if (relay->queries[i].fd < 0)
			return &relay->queries[i];
	return NULL;
}

static void free_place(struct udp_query *q)
{
	if (q->fd >= 0)
		(void)close(q->fd);
	q->fd = -1;
}

static void send_to(const struct udp_relay *relay, const struct sockaddr_in *client,
		    const uint8_t *message, size_t len)
{
	(void)sendto(relay->sock, message, len, MSG_DONTWAIT | MSG_NOSIGNAL,
		     (const struct sockaddr *)client, sizeof(*client));
}

static void reply(const struct udp_relay *relay, const struct udp_query *q, uint8_t *message,
		  size_t len)
{
	dns_set_id(message, q->client_id);
	send_to(relay, &q->client, message, len);
}

static void reply_error(const struct udp_relay *relay, struct udp_query *q, enum dns_error error)
{
	dns_make_error(q->query, error);
	reply(relay, q, q->query, q->question);
}

/* Send to the next resolver that takes it; where none does, tell the guest. */
static void try_next(struct udp_relay *relay, struct udp_query *q)
{
	while (q->tries < TRIES_MAX) {
		free_place(q);
		q->fd = upstream_get(relay->keeper, TALKER_WANTS_UDP, q->tries++);
		if (q->fd >= 0 && send(q->fd, q->query, q->len, MSG_NOSIGNAL) >= 0) {
			q->deadline = clock_ms() + WAIT_MS;
			return;
		}
	}
	free_place(q);
	reply_error(relay, q, DNS_FAILURE);
}

static void start(struct udp_relay *relay, const struct sockaddr_in *client, struct slice message,
		  size_t question)
{
	struct udp_query *q = find_place(relay);

	if (!q || getrandom(&q->id, sizeof(q->id), GRND_NONBLOCK) != (ssize_t)sizeof(q->id))
		return;
	q->client = *client;
	q->client_id = dns_id(message.ptr);
	q->len = (uint16_t)message.len;
	q->question = (uint16_t)question;
	q->tries = 0;
	memcpy(q->query, message.ptr, message.len);
	dns_set_id(q->query, q->id);
	try_next(relay, q);
}

void udp_relay_take(struct udp_relay *relay)
{
	uint8_t message[DNS_QUERY_MAX + 1];
	struct sockaddr_in client;
	socklen_t len = sizeof(client);
	ssize_t n = recvfrom(relay->sock, message, sizeof(message), MSG_DONTWAIT,
			     (struct sockaddr *)&client, &len);
	size_t question = n > 0 ? dns_check_query((struct slice){ message, (size_t)n }) : 0;

	if (question == 0)
		return;
	if (names_judge_query(relay->names, (struct slice){ message, question }) == NAMES_PASS) {
		start(relay, &client, (struct slice){ message, (size_t)n }, question);
		return;
	}
	dns_make_error(message, DNS_REFUSED);
	send_to(relay, &client, message, question);
}

static void pass_on(struct udp_relay *relay, struct udp_query *q, uint8_t *message, size_t len)
{
	const struct slice query = { q->query, q->question };

	switch (names_judge_answer(relay->names, query, (struct slice){ message, len })) {
	case NAMES_PASS:
		reply(relay, q, message, len);
		break;
	case NAMES_REFUSE:
		reply_error(relay, q, DNS_REFUSED);
		break;
	case NAMES_FAIL:
		reply_error(relay, q, DNS_FAILURE);
		break;
	}
	free_place(q);
}

void udp_relay_answer(struct udp_relay *relay, unsigned i)
{
	static uint8_t message[DNS_MESSAGE_MAX];
	struct udp_query *q = &relay->queries[i];
	ssize_t n;

	if (q->fd < 0)
		return;
	n = recv(q->fd, message, sizeof(message), MSG_DONTWAIT);
	if (n < 0 && errno != EAGAIN && errno != EINTR)
		try_next(relay, q); /* refused */
	if (n > 0 && dns_is_answer((struct slice){ message, (size_t)n }, q->id,
				   (struct slice){ q->query, q->question }))
		pass_on(relay, q, message, (size_t)n);
}

bool udp_relay_tick(struct udp_relay *relay)
{
	uint64_t now = clock_ms();
	bool waiting = false;

	for (unsigned i = 0; i < UDP_QUERIES_MAX; i++) {
		struct udp_query *q = &relay->queries[i];

		if (q->fd >= 0 && q->deadline <= now)
			try_next(relay, q);
		waiting |= q->fd >= 0;
	}
	return waiting;
}
