// build: gcc -O3 -Wall -Wextra epoll.c -o OUT
//
// Hand-written epoll, the floor: level-triggered, one read and one write for each message, no state but what the
// kernel did not take. Only then is it copied, EPOLLOUT asked for and reading paused, so that a client which does not
// read is slowed down. Idle timeouts are a list in the order of last activity: pushing one back is moving it to the
// end. Timers and handlers from elsewhere are what an event loop adds to this; there is nothing to measure here.
#include "peer.h"

#include <fcntl.h>
#include <sys/epoll.h>

enum { EVENTS = 1024 };

static int poller;
static char buffer[BUFFER_SIZE];

static void watch(int operation, int fd, uint32_t events, void *data) {
    struct epoll_event event = {.events = events, .data.ptr = data};
    checked(epoll_ctl(poller, operation, fd, &event), "epoll_ctl");
}

static int wait_for(struct epoll_event *events, int timeout_ms) {
    int count = epoll_wait(poller, events, EVENTS, timeout_ms);
    return count < 0 && errno == EINTR ? 0 : checked(count, "epoll_wait");
}

static bool is_full(void) { return errno == EAGAIN || errno == EINTR; }

// echo, echo-timeout

struct connection {
    struct connection *previous, *next; // by last activity, in a ring through `active`
    uint64_t last_ns;
    int fd;
    uint32_t kept_from, kept_to;
    char *kept; // reading is paused as long as there is some
};

static struct connection active = {.previous = &active, .next = &active};
static bool have_timeouts;
static uint64_t now_ns;

static void unlink_connection(struct connection *c) {
    c->previous->next = c->next;
    c->next->previous = c->previous;
}

static void append_connection(struct connection *c) {
    c->last_ns = now_ns;
    c->previous = active.previous;
    c->next = &active;
    c->previous->next = c;
    active.previous = c;
}

static void close_connection(struct connection *c) {
    if (have_timeouts) unlink_connection(c);
    close(c->fd);
    free(c->kept);
    free(c);
}

static void keep(struct connection *c, const char *data, size_t size) {
    c->kept = allocated(malloc(size));
    memcpy(c->kept, data, size);
    c->kept_from = 0;
    c->kept_to = (uint32_t)size;
    watch(EPOLL_CTL_MOD, c->fd, EPOLLOUT, c);
}

static void send_kept(struct connection *c) {
    ssize_t sent = send(c->fd, c->kept + c->kept_from, c->kept_to - c->kept_from, MSG_NOSIGNAL);
    if (sent < 0) {
        if (!is_full()) close_connection(c);
        return;
    }
    c->kept_from += (uint32_t)sent;
    if (c->kept_from < c->kept_to) return;
    free(c->kept);
    c->kept = NULL;
    watch(EPOLL_CTL_MOD, c->fd, EPOLLIN, c);
}

static void echo_message(struct connection *c) {
    ssize_t size = recv(c->fd, buffer, read_size, 0);
    if (size <= 0) {
        if (size == 0 || !is_full()) close_connection(c);
        return;
    }
    if (have_timeouts) {
        unlink_connection(c);
        append_connection(c);
    }
    ssize_t sent = send(c->fd, buffer, (size_t)size, MSG_NOSIGNAL);
    if (sent == size) return;
    if (sent < 0 && !is_full())
        close_connection(c);
    else if (sent < 0)
        keep(c, buffer, (size_t)size);
    else
        keep(c, buffer + sent, (size_t)(size - sent));
}

static void accept_all(int listener) {
    int fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct connection *c = allocated(calloc(1, sizeof *c));
        c->fd = fd;
        set_nodelay(fd);
        if (have_timeouts) append_connection(c);
        watch(EPOLL_CTL_ADD, fd, EPOLLIN, c);
    }
    if (errno != EAGAIN && errno != ECONNABORTED && errno != EINTR) fail("accept", strerror(errno));
}

// Closes the idle and tells in how many milliseconds the next could be.
static int close_idle(void) {
    const uint64_t idle_ns = IDLE_SECONDS * 1000000000ull;
    while (active.next != &active) {
        uint64_t deadline_ns = active.next->last_ns + idle_ns;
        if (deadline_ns > now_ns) return (int)((deadline_ns - now_ns + 999999) / 1000000);
        close_connection(active.next);
    }
    return -1;
}

static int listen_locally(void) {
    struct sockaddr_in address = local_address(0);
    int listener = checked(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), "socket");
    checked(bind(listener, (struct sockaddr *)&address, sizeof address), "bind");
    checked(listen(listener, BACKLOG), "listen");
    return listener;
}

static void serve(void) {
    struct epoll_event events[EVENTS];
    int listener = listen_locally();
    poller = checked(epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
    watch(EPOLL_CTL_ADD, listener, EPOLLIN, NULL);
    say_listening(port_of(listener));
    for (int timeout_ms = -1;;) {
        int count = wait_for(events, timeout_ms);
        if (have_timeouts) now_ns = wall_ns();
        for (int i = 0; i < count; i++) {
            struct connection *c = events[i].data.ptr;
            if (!c)
                accept_all(listener);
            else if (c->kept)
                send_kept(c);
            else
                echo_message(c);
        }
        if (have_timeouts) timeout_ms = close_idle();
    }
}

static void echo(const uint64_t *numbers) {
    (void)numbers;
    serve();
}

static void echo_timeout(const uint64_t *numbers) {
    (void)numbers;
    have_timeouts = true;
    serve();
}

// write-batch: writes are gathered as stdio does it, and sent when a buffer is full or the turn is over.

struct output {
    int fd;
    bool full; // the kernel takes no more for now
    char *data;
    size_t from, to, capacity;
};

static void flush_output(struct output *o) {
    while (o->from < o->to) {
        ssize_t sent = send(o->fd, o->data + o->from, o->to - o->from, MSG_NOSIGNAL);
        o->full = sent < 0 && is_full();
        if (o->full) return;
        if (sent < 0) fail("send", strerror(errno));
        o->from += (size_t)sent;
    }
    o->from = o->to = 0;
}

static void write_output(struct output *o, const char *data, size_t size) {
    if (o->capacity - o->to < size) {
        o->capacity = 2 * (o->capacity + size);
        o->data = allocated(realloc(o->data, o->capacity));
    }
    memcpy(o->data + o->to, data, size);
    o->to += size;
    if (o->to >= BUFFER_SIZE && !o->full) flush_output(o);
}

static void run_until_closed(struct output *o) {
    struct epoll_event events[EVENTS];
    bool ended = false;
    for (;;) {
        flush_output(o);
        if (o->from == o->to && !ended) {
            checked(shutdown(o->fd, SHUT_WR), "shutdown");
            watch(EPOLL_CTL_MOD, o->fd, EPOLLIN, NULL);
            ended = true;
        }
        if (wait_for(events, -1) == 0 || events->events == EPOLLOUT) continue;
        ssize_t size = recv(o->fd, buffer, sizeof buffer, 0);
        if (size != 0) fail("recv", size > 0 ? "unexpected bytes" : strerror(errno));
        if (!ended) fail("recv", "the server has closed early");
        return;
    }
}

static void write_batch(const uint64_t *numbers) {
    struct sockaddr_in address = local_address((uint16_t)numbers[0]);
    uint64_t count = numbers[1], size = numbers[2];
    char *block = allocated(malloc(size));
    memset(block, 'x', size);
    poller = checked(epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
    struct output o = {.fd = checked(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket")};
    checked(connect(o.fd, (struct sockaddr *)&address, sizeof address), "connect");
    checked(fcntl(o.fd, F_SETFL, O_NONBLOCK), "O_NONBLOCK");
    set_nodelay(o.fd);
    watch(EPOLL_CTL_ADD, o.fd, EPOLLIN | EPOLLOUT, NULL);

    uint64_t start = wall_ns();
    for (uint64_t i = 0; i < count; i++) write_output(&o, block, size);
    run_until_closed(&o);
    result(count, wall_ns() - start);
}

// pipes

static void run_pipes(const struct pair *pairs, uint64_t count, uint64_t to_write, uint64_t to_read) {
    struct epoll_event events[EVENTS];
    uint64_t bytes_read = 0, written = 0;
    uint64_t start = wall_ns();
    while (bytes_read < to_read) {
        int ready = wait_for(events, -1);
        for (int i = 0; i < ready; i++) {
            uint64_t pair = events[i].data.u64;
            ssize_t size = recv(pairs[pair].read, buffer, sizeof buffer, 0);
            if (size <= 0) fail("recv", strerror(errno));
            bytes_read += (uint64_t)size;
            uint64_t next = pair + 1 < count ? pair + 1 : 0;
            for (; size > 0 && written < to_write; size--, written++) send_byte(pairs[next].write);
        }
    }
    counted_result(bytes_read, to_read, wall_ns() - start);
}

static void pipes(const uint64_t *numbers) {
    uint64_t count = numbers[0], at_once = numbers[1], to_write = numbers[2];
    struct pair *pairs = allocated(calloc(count, sizeof *pairs));
    poller = checked(epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
    for (uint64_t i = 0; i < count; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.u64 = i};
        pairs[i] = open_pair();
        checked(epoll_ctl(poller, EPOLL_CTL_ADD, pairs[i].read, &event), "epoll_ctl");
    }
    for (int repetition = 0; repetition < PIPES_REPETITIONS; repetition++) {
        for (uint64_t i = 0; i < at_once; i++) send_byte(pairs[i * count / at_once].write);
        run_pipes(pairs, count, to_write, at_once + to_write);
    }
}

static void version(const uint64_t *numbers) {
    (void)numbers;
    printf("gcc %s, Linux\n", __VERSION__);
}

int main(int argc, char **argv) {
    static const char no_timers[] = "epoll has one timeout, not timers";
    static const char no_queue[] = "epoll has no queue of handlers";
    static const struct workload workloads[] = {
        {"echo", 0, echo, NULL},
        {"echo-timeout", 0, echo_timeout, NULL},
        {"write-batch", 3, write_batch, NULL},
        {"pipes", 3, pipes, NULL},
        {"post", 1, NULL, no_queue},
        {"post-remote", 1, NULL, no_queue},
        {"timers-cancel", 1, NULL, no_timers},
        {"timers-fire", 1, NULL, no_timers},
        {"version", 0, version, NULL},
        {NULL, 0, NULL, NULL},
    };
    return run_workload(argc, argv, workloads);
}
