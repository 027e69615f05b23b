// build: gcc -pthread -O3 -Wall -Wextra libevent.c -o OUT -levent -levent_pthreads
//
// libevent, as its book has it: bufferevents whose input is moved to the output without copying (of a read buffer of
// 64 KiB the library takes 4 KiB at a time; more it does not offer), a watermark on the output that stops reading, so
// that a client which does not read is slowed down, and timeouts of the bufferevents, which share the library's queue
// of common timeouts, made for many that are equal. Elsewhere events are assigned in place in their owners. Locks only
// where a second thread takes part.
#include "peer.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <event2/listener.h>
#include <event2/thread.h>
#include <pthread.h>

enum { MOST_UNSENT = 4 * BUFFER_SIZE };

static struct event_base *base;
static char buffer[BUFFER_SIZE];

static void ev_checked(int result, const char *what) {
    if (result != 0) fail(what, "libevent refuses");
}

static void new_base(int flags) {
    struct event_config *config = allocated(event_config_new());
    ev_checked(event_config_set_flag(config, flags), "event_config_set_flag");
    base = event_base_new_with_config(config);
    if (!base) fail("event_base_new_with_config", "no base");
    event_config_free(config);
}

static void new_single_threaded_base(void) { new_base(EVENT_BASE_FLAG_NOLOCK); }

// echo, echo-timeout

static const struct timeval *idle_timeout; // NULL: none

static void on_event(struct bufferevent *bev, short what, void *unused);
static void on_message(struct bufferevent *bev, void *unused);

static void on_last_written(struct bufferevent *bev, void *unused) {
    (void)unused;
    bufferevent_free(bev);
}

// As long as reading is stopped, it is writing that the idle timeout watches.
static void on_drained(struct bufferevent *bev, void *unused) {
    (void)unused;
    bufferevent_setcb(bev, on_message, NULL, on_event, NULL);
    bufferevent_setwatermark(bev, EV_WRITE, 0, 0);
    if (idle_timeout) bufferevent_set_timeouts(bev, idle_timeout, NULL);
    ev_checked(bufferevent_enable(bev, EV_READ), "bufferevent_enable");
}

static void stop_reading(struct bufferevent *bev) {
    bufferevent_setcb(bev, on_message, on_drained, on_event, NULL);
    bufferevent_setwatermark(bev, EV_WRITE, MOST_UNSENT / 2, 0);
    ev_checked(bufferevent_disable(bev, EV_READ), "bufferevent_disable");
    if (idle_timeout) bufferevent_set_timeouts(bev, idle_timeout, idle_timeout);
}

static void on_message(struct bufferevent *bev, void *unused) {
    (void)unused;
    ev_checked(bufferevent_write_buffer(bev, bufferevent_get_input(bev)), "bufferevent_write_buffer");
    if (evbuffer_get_length(bufferevent_get_output(bev)) > MOST_UNSENT) stop_reading(bev);
}

static void on_event(struct bufferevent *bev, short what, void *unused) {
    (void)unused;
    if (!(what & BEV_EVENT_EOF) || evbuffer_get_length(bufferevent_get_output(bev)) == 0) {
        bufferevent_free(bev);
        return;
    }
    bufferevent_setcb(bev, NULL, on_last_written, on_event, NULL);
    if (idle_timeout) bufferevent_set_timeouts(bev, NULL, idle_timeout);
}

static void on_connection(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *address, int length,
                          void *unused) {
    (void)listener;
    (void)address;
    (void)length;
    (void)unused;
    struct bufferevent *bev = allocated(bufferevent_socket_new(base, fd, BEV_OPT_CLOSE_ON_FREE));
    set_nodelay(fd);
    ev_checked(bufferevent_set_max_single_read(bev, read_size), "bufferevent_set_max_single_read");
    ev_checked(bufferevent_set_max_single_write(bev, BUFFER_SIZE), "bufferevent_set_max_single_write");
    bufferevent_setcb(bev, on_message, NULL, on_event, NULL);
    if (idle_timeout) bufferevent_set_timeouts(bev, idle_timeout, NULL);
    ev_checked(bufferevent_enable(bev, EV_READ), "bufferevent_enable");
}

static void on_accept_error(struct evconnlistener *listener, void *unused) {
    (void)listener;
    (void)unused;
    if (errno != ECONNABORTED) fail("accept", strerror(errno));
}

static void serve(void) {
    struct sockaddr_in address = local_address(0);
    unsigned flags = LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC;
    struct evconnlistener *listener = evconnlistener_new_bind(base, on_connection, NULL, flags, BACKLOG,
                                                              (struct sockaddr *)&address, sizeof address);
    if (!listener) fail("evconnlistener_new_bind", strerror(errno));
    evconnlistener_set_error_cb(listener, on_accept_error);
    // evconnlistener_new_bind sets SO_KEEPALIVE, and each connection would inherit it: no other peer has it.
    int off = 0;
    checked(setsockopt(evconnlistener_get_fd(listener), SOL_SOCKET, SO_KEEPALIVE, &off, sizeof off), "SO_KEEPALIVE");
    say_listening(port_of(evconnlistener_get_fd(listener)));
    event_base_dispatch(base);
}

static void echo(const uint64_t *numbers) {
    (void)numbers;
    new_single_threaded_base();
    serve();
}

static void echo_timeout(const uint64_t *numbers) {
    (void)numbers;
    struct timeval duration = {.tv_sec = IDLE_SECONDS};
    new_single_threaded_base();
    idle_timeout = event_base_init_common_timeout(base, &duration);
    if (!idle_timeout) fail("event_base_init_common_timeout", "libevent refuses");
    serve();
}

// write-batch

static void on_batch_written(struct bufferevent *bev, void *ended) {
    *(bool *)ended = true;
    checked(shutdown(bufferevent_getfd(bev), SHUT_WR), "shutdown");
}

static void on_batch_event(struct bufferevent *bev, short what, void *ended) {
    (void)bev;
    if (!(what & BEV_EVENT_EOF)) fail("connection", strerror(errno));
    if (!*(bool *)ended) fail("connection", "the server has closed early");
    event_base_loopbreak(base);
}

static int connect_to(uint16_t port) {
    struct sockaddr_in address = local_address(port);
    int fd = checked(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
    checked(connect(fd, (struct sockaddr *)&address, sizeof address), "connect");
    checked(evutil_make_socket_nonblocking(fd), "evutil_make_socket_nonblocking");
    set_nodelay(fd);
    return fd;
}

static void write_batch(const uint64_t *numbers) {
    uint64_t count = numbers[1], size = numbers[2];
    bool ended = false;
    char *block = allocated(malloc(size));
    memset(block, 'x', size);
    new_single_threaded_base();
    struct bufferevent *bev = allocated(bufferevent_socket_new(base, connect_to((uint16_t)numbers[0]), 0));
    ev_checked(bufferevent_set_max_single_write(bev, BUFFER_SIZE), "bufferevent_set_max_single_write");
    bufferevent_setcb(bev, NULL, on_batch_written, on_batch_event, &ended);
    ev_checked(bufferevent_enable(bev, EV_READ), "bufferevent_enable");
    uint64_t start = wall_ns();
    for (uint64_t i = 0; i < count; i++) ev_checked(bufferevent_write(bev, block, size), "bufferevent_write");
    event_base_dispatch(base);
    result(count, wall_ns() - start);
}

// pipes

struct reader {
    struct event event;
    struct pair pair;
};

static struct {
    struct reader *readers;
    uint64_t count, bytes_read, to_read, written, to_write;
} ring;

static void on_readable(evutil_socket_t fd, short what, void *arg) {
    (void)what;
    struct reader *reader = arg;
    ssize_t size = recv(fd, buffer, sizeof buffer, 0);
    if (size <= 0) fail("recv", strerror(errno));
    struct reader *next = reader + 1 < ring.readers + ring.count ? reader + 1 : ring.readers;
    ring.bytes_read += (uint64_t)size;
    for (; size > 0 && ring.written < ring.to_write; size--, ring.written++) send_byte(next->pair.write);
    if (ring.bytes_read >= ring.to_read) event_base_loopbreak(base);
}

static void open_readers(void) {
    ring.readers = allocated(calloc(ring.count, sizeof *ring.readers));
    for (uint64_t i = 0; i < ring.count; i++) {
        struct reader *reader = &ring.readers[i];
        reader->pair = open_pair();
        ev_checked(event_assign(&reader->event, base, reader->pair.read, EV_READ | EV_PERSIST, on_readable, reader),
                   "event_assign");
        ev_checked(event_add(&reader->event, NULL), "event_add");
    }
}

static void pipes(const uint64_t *numbers) {
    uint64_t at_once = numbers[1];
    new_single_threaded_base();
    ring.count = numbers[0];
    ring.to_write = numbers[2];
    ring.to_read = at_once + ring.to_write;
    open_readers();
    for (int repetition = 0; repetition < PIPES_REPETITIONS; repetition++) {
        ring.bytes_read = ring.written = 0;
        for (uint64_t i = 0; i < at_once; i++) send_byte(ring.readers[i * ring.count / at_once].pair.write);
        uint64_t start = wall_ns();
        event_base_dispatch(base);
        counted_result(ring.bytes_read, ring.to_read, wall_ns() - start);
    }
}

// post: an event that nothing but event_active makes run, a new one for each handler.

static struct {
    uint64_t count, posted, ran;
} relay;

static void on_posted(evutil_socket_t fd, short what, void *event);

static void post_next(void) {
    if (relay.posted == relay.count) return;
    relay.posted++;
    struct event *event = allocated(malloc(sizeof *event));
    ev_checked(event_assign(event, base, -1, 0, on_posted, event), "event_assign");
    event_active(event, EV_TIMEOUT, 0);
}

static void on_posted(evutil_socket_t fd, short what, void *event) {
    (void)fd;
    (void)what;
    relay.ran++;
    post_next();
    free(event);
}

static void post(const uint64_t *numbers) {
    new_single_threaded_base();
    relay.count = numbers[0];
    for (int repetition = 0; repetition < REPETITIONS; repetition++) {
        relay.posted = relay.ran = 0;
        uint64_t start = wall_ns();
        for (int i = 0; i < POST_AT_ONCE; i++) post_next();
        event_base_dispatch(base);
        counted_result(relay.ran, relay.count, wall_ns() - start);
    }
}

// post-remote: a queue under a mutex, and an event made active only for the first of it, since all is taken at once.

struct closure {
    struct closure *next;
    void (*run)(struct closure *);
    uint64_t *counter;
};

static struct {
    pthread_mutex_t mutex;
    struct event event;
    struct closure *first, **last;
    uint64_t counter, count;
} remote = {.mutex = PTHREAD_MUTEX_INITIALIZER};

static void add_one(struct closure *closure) { ++*closure->counter; }

static void post_closure(void (*run)(struct closure *), uint64_t *counter) {
    struct closure *closure = allocated(malloc(sizeof *closure));
    closure->next = NULL;
    closure->run = run;
    closure->counter = counter;
    pthread_mutex_lock(&remote.mutex);
    bool was_empty = !remote.first;
    *remote.last = closure;
    remote.last = &closure->next;
    pthread_mutex_unlock(&remote.mutex);
    if (was_empty) event_active(&remote.event, EV_TIMEOUT, 0);
}

static void on_queue(evutil_socket_t fd, short what, void *unused) {
    (void)fd;
    (void)what;
    (void)unused;
    pthread_mutex_lock(&remote.mutex);
    struct closure *closure = remote.first;
    remote.first = NULL;
    remote.last = &remote.first;
    pthread_mutex_unlock(&remote.mutex);
    while (closure) {
        struct closure *next = closure->next;
        closure->run(closure);
        free(closure);
        closure = next;
    }
    if (remote.counter >= remote.count) event_base_loopbreak(base);
}

static void *post_all(void *unused) {
    (void)unused;
    for (uint64_t i = 0; i < remote.count; i++) post_closure(add_one, &remote.counter);
    return NULL;
}

static void post_remote(const uint64_t *numbers) {
    pthread_t thread;
    remote.count = numbers[0];
    remote.last = &remote.first;
    ev_checked(evthread_use_pthreads(), "evthread_use_pthreads");
    new_base(0);
    ev_checked(event_assign(&remote.event, base, -1, EV_PERSIST, on_queue, NULL), "event_assign");
    for (int repetition = 0; repetition < REPETITIONS; repetition++) {
        remote.counter = 0;
        uint64_t start = wall_ns();
        if (pthread_create(&thread, NULL, post_all, NULL) != 0) fail("pthread_create", "no thread");
        event_base_loop(base, EVLOOP_NO_EXIT_ON_EMPTY);
        uint64_t end = wall_ns();
        pthread_join(thread, NULL);
        counted_result(remote.counter, remote.count, end - start);
    }
}

// timers-cancel, timers-fire: started by a handler, as in most programs; there the loop's time is already read.

static struct {
    struct event *events;
    struct schedule schedule;
    uint64_t count, fired, start_ns, cpu_ns;
} timers;

static void on_fired(evutil_socket_t fd, short what, void *unused) {
    (void)fd;
    (void)what;
    (void)unused;
    timers.fired++;
}

static void start_timers(void) {
    timers.start_ns = cpu_ns();
    for (uint64_t i = 0; i < timers.count; i++) {
        uint32_t ms = timers.schedule.delays_ms[i];
        struct timeval delay = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
        ev_checked(evtimer_add(&timers.events[i], &delay), "evtimer_add");
    }
}

static void start_and_cancel(evutil_socket_t fd, short what, void *unused) {
    (void)fd;
    (void)what;
    (void)unused;
    start_timers();
    for (uint64_t i = 0; i < timers.count; i++) evtimer_del(&timers.events[timers.schedule.order[i]]);
    timers.cpu_ns = cpu_ns() - timers.start_ns;
}

static void start_to_fire(evutil_socket_t fd, short what, void *unused) {
    (void)fd;
    (void)what;
    (void)unused;
    start_timers();
}

static void run_in_loop(event_callback_fn run) {
    ev_checked(event_base_once(base, -1, EV_TIMEOUT, run, NULL, NULL), "event_base_once");
    event_base_dispatch(base);
}

static void new_timers(uint64_t count, struct schedule schedule) {
    new_single_threaded_base();
    timers.count = count;
    timers.schedule = schedule;
    timers.events = allocated(calloc(count, sizeof *timers.events));
    for (uint64_t i = 0; i < count; i++)
        ev_checked(evtimer_assign(&timers.events[i], base, on_fired, NULL), "evtimer_assign");
}

static void timers_cancel(const uint64_t *numbers) {
    new_timers(numbers[0], far_schedule(numbers[0]));
    for (int repetition = 0; repetition < cancel_repetitions(numbers[0]); repetition++) {
        run_in_loop(start_and_cancel);
        bool forgotten = event_base_get_num_events(base, EVENT_BASE_COUNT_ADDED) == 0 && timers.fired == 0;
        counted_result(forgotten ? timers.count : 0, timers.count, timers.cpu_ns);
    }
}

static void timers_fire(const uint64_t *numbers) {
    new_timers(numbers[0], near_schedule(numbers[0]));
    for (int repetition = 0; repetition < REPETITIONS; repetition++) {
        timers.fired = 0;
        run_in_loop(start_to_fire);
        counted_result(timers.fired, timers.count, cpu_ns() - timers.start_ns);
    }
}

static void version(const uint64_t *numbers) {
    (void)numbers;
    printf("libevent %s\n", event_get_version());
}

int main(int argc, char **argv) {
    static const struct workload workloads[] = {
        {"echo", 0, echo, NULL},
        {"echo-timeout", 0, echo_timeout, NULL},
        {"write-batch", 3, write_batch, NULL},
        {"pipes", 3, pipes, NULL},
        {"post", 1, post, NULL},
        {"post-remote", 1, post_remote, NULL},
        {"timers-cancel", 1, timers_cancel, NULL},
        {"timers-fire", 1, timers_fire, NULL},
        {"version", 0, version, NULL},
        {NULL, 0, NULL, NULL},
    };
    return run_workload(argc, argv, workloads);
}
