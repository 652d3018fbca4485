/* SPDX-License-Identifier: Apache-2.0 */
#include "run/network.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "net/filter_text.h"
#include "net/policy_message.h"
#include "net/softnet.h"

struct network_job {
	enum { JOB_CHANGE, JOB_COUNT } kind;
	struct network_rules rules; /* CHANGE: what is to change, then all */
	struct policy policy;
	bool sets_lists, sets_filter;
	network_done_fn done; /* NULL: nobody waits any more */
	void *arg;
	struct error failure; /* the first of a card's */
	bool undoing;
	size_t waiting; /* cards that have not answered */
	struct network_job *next;
};

void network_rules_release(struct network_rules *rules)
{
	strings_release(&rules->allow);
	strings_release(&rules->block);
	str_release(&rules->filter);
}

static void copy_strings(struct strings *to, const struct strings *from)
{
	for (size_t i = 0; i < from->len; i++)
		strings_add(to, from->items[i]);
}

const char *network_mode_name(int mode)
{
	static const char *const names[NET_MODE_MAX] = { "none", "shared", "softnet", "host",
							 "bridged" };

	return names[mode];
}

int network_compile(int mode, const struct network_rules *rules, const char *filter_name,
		    struct policy *policy, struct error *err)
{
	struct slice text = { (const uint8_t *)rules->filter.ptr, rules->filter.len };
	auto_str packet = STR_INIT;
	int r = 0;

	if (filter_text_parse(text, POLICY_OWN, policy, err) < 0)
		return error_wrap(err, "%s", filter_name);
	if (rules->no_local)
		policy_add_no_local(policy);
	if (mode == NET_SOFTNET)
		r = softnet_compile(&rules->allow, &rules->block, policy, err);
	else
		policy_add_mode(policy, (enum net_mode)mode);
	/* what is too long for one packet is said before anything is started or changed */
	return r < 0 ? r : policy_message_write(policy, &packet, err);
}

int network_add_card(struct network *network, const struct net_start *start,
		     const struct net_message *started, int tap, struct error *err)
{
	struct network_card *card = &network->cards[network->card_count];
	int copy = fcntl(tap, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);

	if (copy < 0)
		return error_errno(err, "cannot copy a descriptor");
	card->tap = copy;
	card->start = *start;
	card->started = *started;
	card->network = network;
	card->leased = card->link.leased.s_addr != 0;
	card->address = card->leased ? card->link.leased : started->address;
	memcpy(card->interface, started->neighbours, sizeof(card->interface));
	network->isolated = started->isolated != 0;
	network->card_count++;
	return 0;
}

static struct net_start describe_card(const struct network *network, struct in_addr wanted,
				      bool fixed)
{
	const struct network_card *card = &network->cards[network->card_count];
	struct net_start start = {
		.mode = (uint8_t)network->mode,
		.fixed = fixed,
		.wanted = wanted,
		.exposed_count = network->exposed_count,
	};

	memcpy(start.mac, card->mac.bytes, sizeof(start.mac));
	memcpy(start.interface, card->parent, sizeof(start.interface));
	memcpy(start.exposed, network->exposed,
	       network->exposed_count * sizeof(network->exposed[0]));
	return start;
}

int network_start_card(struct network *network, const struct vm *vm, struct in_addr wanted,
		       bool fixed, int *tap, struct error *err)
{
	struct network_card *card = &network->cards[network->card_count];
	struct net_start start = describe_card(network, wanted, fixed);
	struct net_message started;
	int r = vm && network->mode != NET_BRIDGED ? caretaker_take(network, vm, &start, tap, err)
						   : 0;

	if (r != 0)
		return r < 0 ? r : 0;
	r = net_link_start(&card->link, &start, &network->policy, &started, tap, err);
	if (r < 0)
		return r;
	r = network_add_card(network, &start, &started, *tap, err);
	if (r < 0)
		net_link_stop(&card->link);
	return r;
}

static void job_free(struct network_job *job)
{
	network_rules_release(&job->rules);
	policy_release(&job->policy);
	free(job);
}

static void stop_card(struct network_card *card, bool kept)
{
	card->link.sock = -1; /* closed */
	if (card->tap > 0)
		(void)close(card->tap);
	card->tap = 0;
	if (kept)
		net_link_forget(&card->link);
	else
		net_link_stop(&card->link);
}

void network_stop(struct network *network)
{
	bool kept = caretaker_keeps(network);

	while (network->jobs) {
		struct network_job *job = network->jobs;

		network->jobs = job->next;
		job_free(job);
	}
	/* all hear of it before any is waited for */
	for (size_t i = 0; i < network->card_count; i++)
		cleanup_close_(&network->cards[i].link.sock);
	for (size_t i = 0; i < network->card_count; i++)
		stop_card(&network->cards[i], kept);
	network->card_count = 0;
	network_rules_release(&network->rules);
	policy_release(&network->policy);
}

static void begin_job(struct network *network);

/* Take the first job off, tell who asked, go on with the next. */
static void end_job(struct network *network)
{
	struct network_job *job = network->jobs;
	int r = job->failure.code ? -job->failure.code : 0;

	network->jobs = job->next;
	if (r == 0 && job->kind == JOB_CHANGE) {
		struct network_rules old_rules = network->rules;
		struct policy old_policy = network->policy;

		network->rules = job->rules;
		network->policy = job->policy;
		job->rules = old_rules;
		job->policy = old_policy;
	}
	if (job->done)
		job->done(job->arg, r, &job->failure);
	job_free(job);
	/* only now: a job that was added meanwhile is begun here, and not by add_job() */
	network->job_count--;
	begin_job(network);
}

static int ask_card(struct network_card *card, const struct network_job *job, struct error *err)
{
	if (job->kind == JOB_COUNT)
		return net_link_count(&card->link, err);
	return net_link_set_policy(&card->link,
				   job->undoing ? &card->network->policy : &job->policy, err);
}

static void refuse(struct network_card *card, const struct error *why)
{
	struct network_job *job = card->network->jobs;

	card->state = CARD_REFUSED;
	if (!job->failure.code)
		job->failure = *why;
}

/* Ask each card that is in @state. */
static void ask_cards(struct network *network, int state)
{
	struct network_job *job = network->jobs;

	for (size_t i = 0; i < network->card_count; i++) {
		struct network_card *card = &network->cards[i];
		struct error err = ERROR_INIT;

		if ((int)card->state != state)
			continue;
		if (ask_card(card, job, &err) < 0) {
			refuse(card, &err);
			continue;
		}
		card->state = CARD_ASKED;
		job->waiting++;
	}
}

static bool any_card(const struct network *network, int state)
{
	for (size_t i = 0; i < network->card_count; i++)
		if ((int)network->cards[i].state == state)
			return true;
	return false;
}

/* Nobody is waited for. Return: the job is at its end. */
static bool settle(struct network *network)
{
	struct network_job *job = network->jobs;

	if (job->kind == JOB_CHANGE && !job->undoing && any_card(network, CARD_REFUSED) &&
	    any_card(network, CARD_DONE)) {
		job->undoing = true;
		for (size_t i = 0; i < network->card_count; i++)
			if (network->cards[i].state == CARD_REFUSED)
				network->cards[i].state = CARD_IDLE;
		ask_cards(network, CARD_DONE);
		if (job->waiting)
			return false;
	}
	if (job->undoing && any_card(network, CARD_REFUSED))
		network->events.gone(network->events.arg);
	return true;
}

/* What stays is taken from what is in force now, not from when the job was added. */
static int prepare(const struct network *network, struct network_job *job)
{
	if (!job->sets_lists) {
		copy_strings(&job->rules.allow, &network->rules.allow);
		copy_strings(&job->rules.block, &network->rules.block);
	}
	if (!job->sets_filter)
		str_add(&job->rules.filter, network->rules.filter.ptr, network->rules.filter.len);
	job->rules.no_local = network->rules.no_local;
	return network_compile(network->mode, &job->rules, "filter", &job->policy, &job->failure);
}

static void begin_job(struct network *network)
{
	struct network_job *job = network->jobs;

	if (!job)
		return;
	for (size_t i = 0; i < network->card_count; i++)
		network->cards[i].state = CARD_IDLE;
	if (job->kind == JOB_COUNT || prepare(network, job) == 0)
		ask_cards(network, CARD_IDLE);
	if (!job->waiting && settle(network))
		end_job(network);
}

static void on_answer(struct network_card *card, const struct net_message *message)
{
	struct network *network = card->network;
	struct network_job *job = network->jobs;
	struct error err = ERROR_INIT;

	if (!job || card->state != CARD_ASKED)
		return; /* nobody asked it */
	card->state = CARD_DONE;
	if (message->kind == NET_COUNTED)
		card->drops = message->drops;
	if (message->kind == NET_FAILED) {
		(void)error_set(&err, E_FAILED, "%s", message->text);
		refuse(card, &err);
	}
	if (--job->waiting == 0 && settle(network))
		end_job(network);
}

static void on_leased(struct network_card *card, const struct net_message *message)
{
	struct network *network = card->network;

	if (card->leased && card->address.s_addr == message->address.s_addr)
		return;
	card->leased = true;
	card->address = message->address;
	network->events.leased(network->events.arg, card);
}

/* One message of the keeper's, if there is one. Return: is it to be trusted yet? */
static bool hear(struct network_card *card)
{
	struct error ignored = ERROR_INIT;
	struct net_message message;
	int r = net_link_receive(&card->link, &message, &ignored);

	if (r > 0 && message.kind == NET_LEASED)
		on_leased(card, &message);
	else if (r > 0)
		on_answer(card, &message);
	return r >= 0;
}

static void on_card(uv_poll_t *poll, int status, int events)
{
	struct network_card *card = poll->data;

	(void)events;
	if (status >= 0 && hear(card))
		return;
	(void)uv_poll_stop(poll);
	card->network->events.gone(card->network->events.arg);
}

bool network_settle(struct network *network, unsigned limit_ms)
{
	uint64_t end = clock_ms() + limit_ms, now = end - limit_ms;

	while (network->jobs && now < end) {
		struct pollfd cards[PLAN_NICS_MAX];

		for (size_t i = 0; i < network->card_count; i++)
			cards[i] = (struct pollfd){ .fd = network->cards[i].link.sock,
						    .events = POLLIN };
		if (poll(cards, network->card_count, (int)(end - now)) < 0 && errno != EINTR)
			return false;
		for (size_t i = 0; i < network->card_count; i++)
			if (cards[i].revents && !hear(&network->cards[i]))
				return false;
		now = clock_ms();
	}
	return !network->job_count;
}

int network_watch(struct network *network, uv_loop_t *loop, const struct network_events *events,
		  struct error *err)
{
	network->events = *events;
	for (size_t i = 0; i < network->card_count; i++) {
		struct network_card *card = &network->cards[i];

		card->poll.data = card;
		if (uv_poll_init(loop, &card->poll, card->link.sock) != 0 ||
		    uv_poll_start(&card->poll, UV_READABLE, on_card) != 0)
			return error_set(err, E_FAILED, "cannot watch the network helper");
	}
	return 0;
}

static int check_room(const struct network *network, struct error *err)
{
	if (!network->card_count)
		return error_set(err, E_FAILED, "the VM has no network card");
	if (network->job_count == NETWORK_JOBS_MAX)
		return error_set(err, E_FAILED, "too many requests are waiting");
	return 0;
}

/* At the end of the queue; where it is empty, at once. */
static void add_job(struct network *network, struct network_job *job)
{
	struct network_job **end = &network->jobs;

	while (*end)
		end = &(*end)->next;
	*end = job;
	if (network->job_count++ == 0)
		begin_job(network);
}

static struct network_job *job_new(network_done_fn done, void *arg)
{
	struct network_job *job = xcalloc(1, sizeof(*job));

	*job = (struct network_job){ .kind = JOB_COUNT,
				     .rules = NETWORK_RULES_INIT,
				     .policy = POLICY_INIT,
				     .done = done,
				     .arg = arg };
	return job;
}

int network_change(struct network *network, const struct rules_change *change, network_done_fn done,
		   void *arg, struct error *err)
{
	struct network_job *job;
	int r = check_room(network, err);

	if (r == 0 && network->bypassed)
		r = error_set(err, E_FAILED, "the VM was started with --vsock, past any rule");
	if (r == 0 && network->mode != NET_SOFTNET && change->allow)
		r = error_set(
			err, E_FAILED,
			"the VM runs in %s mode: lists are for --net-softnet, which is chosen "
			"when it starts",
			network_mode_name(network->mode));
	if (r < 0)
		return r;
	job = job_new(done, arg);
	job->kind = JOB_CHANGE;
	job->sets_lists = change->allow != NULL;
	job->sets_filter = change->filter != NULL;
	if (change->allow) {
		copy_strings(&job->rules.allow, change->allow);
		copy_strings(&job->rules.block, change->block);
	}
	if (change->filter)
		str_add(&job->rules.filter, change->filter->ptr, change->filter->len);
	add_job(network, job);
	return 0;
}

int network_count(struct network *network, network_done_fn done, void *arg, struct error *err)
{
	int r = check_room(network, err);

	if (r == 0)
		add_job(network, job_new(done, arg));
	return r;
}

void network_forget(struct network *network, const void *arg)
{
	for (struct network_job *job = network->jobs; job; job = job->next)
		if (job->arg == arg)
			job->done = NULL;
}
