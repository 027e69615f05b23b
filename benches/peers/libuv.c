// build: gcc -pthread -O3 -Wall -Wextra libuv.c -o OUT -luv
//
// libuv, as who knows it well writes it (its guide allocates for every read and write): one static buffer handed out to every
// read, since the bytes are gone when the callback
// returns; uv_try_write first, and a uv_write with reading stopped for what did not fit, so that a client which does
// not read is slowed down. Idle timeouts are repeating timers and uv_timer_again. Handles live in their owners, as the
// library wants them, so starting and stopping one allocates nothing. Its way in from other threads is a queue of the
// user's own under a mutex and uv_async_send.
#include "peer.h"

#include <uv.h>

static uv_loop_t loop;
static char buffer[BUFFER_SIZE];

static int uv_checked(int result, const char *what) {
    if (result < 0) fail(what, uv_strerror(result));
    return result;
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf) {
    (void)handle;
    (void)suggested;
    buf->base = buffer;
    buf->len = read_size;
}

// echo, echo-timeout

struct connection {
    uv_tcp_t tcp;
    uv_write_t request;
    char *kept; // what the request writes
    int open_handles;
};

struct timed_connection {
    struct connection connection;
    uv_timer_t timer;
};

static bool have_timeouts;

static uv_timer_t *timer_of(struct connection *c) { return &((struct timed_connection *)c)->timer; }

static void on_closed(uv_handle_t *handle) {
    struct connection *c = handle->data;
    if (--c->open_handles > 0) return;
    free(c->kept);
    free(c);
}

static void close_connection(struct connection *c) {
    if (uv_is_closing((uv_handle_t *)&c->tcp)) return;
    uv_close((uv_handle_t *)&c->tcp, on_closed);
    if (have_timeouts) uv_close((uv_handle_t *)timer_of(c), on_closed);
}

static void on_idle(uv_timer_t *timer) { close_connection(timer->data); }

static void on_message(uv_stream_t *stream, ssize_t size, const uv_buf_t *buf);

static void on_kept_written(uv_write_t *request, int status) {
    struct connection *c = request->data;
    free(c->kept);
    c->kept = NULL;
    if (status < 0)
        close_connection(c);
    else
        uv_checked(uv_read_start((uv_stream_t *)&c->tcp, on_alloc, on_message), "uv_read_start");
}

static void keep(struct connection *c, const char *data, size_t size) {
    uv_stream_t *stream = (uv_stream_t *)&c->tcp;
    c->kept = allocated(malloc(size));
    memcpy(c->kept, data, size);
    uv_buf_t rest = uv_buf_init(c->kept, (unsigned)size);
    uv_read_stop(stream);
    uv_checked(uv_write(&c->request, stream, &rest, 1, on_kept_written), "uv_write");
}

static void on_message(uv_stream_t *stream, ssize_t size, const uv_buf_t *buf) {
    struct connection *c = stream->data;
    if (size <= 0) {
        if (size < 0) close_connection(c);
        return;
    }
    if (have_timeouts) uv_timer_again(timer_of(c));
    uv_buf_t message = uv_buf_init(buf->base, (unsigned)size);
    int sent = uv_try_write(stream, &message, 1);
    if (sent == size) return;
    if (sent == UV_EAGAIN) sent = 0;
    if (sent < 0)
        close_connection(c);
    else
        keep(c, buf->base + sent, (size_t)(size - sent));
}

static void start_timeout(struct connection *c) {
    uv_timer_t *timer = timer_of(c);
    uv_timer_init(&loop, timer);
    timer->data = c;
    c->open_handles++;
    uv_timer_start(timer, on_idle, IDLE_SECONDS * 1000, IDLE_SECONDS * 1000);
}

static void on_connection(uv_stream_t *listener, int status) {
    if (status == UV_ECONNABORTED) return;
    uv_checked(status, "accept");
    size_t size = have_timeouts ? sizeof(struct timed_connection) : sizeof(struct connection);
    struct connection *c = allocated(calloc(1, size));
    uv_stream_t *stream = (uv_stream_t *)&c->tcp;
    uv_checked(uv_tcp_init(&loop, &c->tcp), "uv_tcp_init");
    c->tcp.data = c->request.data = c;
    c->open_handles = 1;
    uv_checked(uv_accept(listener, stream), "uv_accept");
    uv_checked(uv_tcp_nodelay(&c->tcp, 1), "uv_tcp_nodelay");
    if (have_timeouts) start_timeout(c);
    uv_checked(uv_read_start(stream, on_alloc, on_message), "uv_read_start");
}

static void echo(const uint64_t *numbers) {
    (void)numbers;
    uv_tcp_t listener;
    uv_os_fd_t fd;
    struct sockaddr_in address = local_address(0);
    uv_checked(uv_loop_init(&loop), "uv_loop_init");
    uv_checked(uv_tcp_init(&loop, &listener), "uv_tcp_init");
    uv_checked(uv_tcp_bind(&listener, (struct sockaddr *)&address, 0), "uv_tcp_bind");
    uv_checked(uv_listen((uv_stream_t *)&listener, BACKLOG, on_connection), "uv_listen");
    uv_checked(uv_fileno((uv_handle_t *)&listener, &fd), "uv_fileno");
    say_listening(port_of(fd));
    uv_run(&loop, UV_RUN_DEFAULT);
}

static void echo_timeout(const uint64_t *numbers) {
    have_timeouts = true;
    echo(numbers);
}

// write-batch: all requests at once; uv_shutdown waits for them.

static struct {
    uint64_t count, size, written, start_ns;
    char *block;
    uv_write_t *requests;
    uv_shutdown_t shutdown;
} batch;

static void on_batch_written(uv_write_t *request, int status) {
    (void)request;
    uv_checked(status, "uv_write");
    batch.written++;
}

static void on_batch_shutdown(uv_shutdown_t *request, int status) {
    (void)request;
    uv_checked(status, "uv_shutdown");
}

static void on_batch_read(uv_stream_t *stream, ssize_t size, const uv_buf_t *buf) {
    (void)buf;
    if (size == 0) return;
    if (size > 0) fail("read", "unexpected bytes");
    if (size != UV_EOF) fail("read", uv_strerror((int)size));
    counted_result(batch.written, batch.count, wall_ns() - batch.start_ns);
    uv_close((uv_handle_t *)stream, NULL);
}

static void on_batch_connected(uv_connect_t *request, int status) {
    uv_stream_t *stream = request->handle;
    uv_buf_t block = uv_buf_init(batch.block, (unsigned)batch.size);
    uv_checked(status, "connect");
    uv_checked(uv_tcp_nodelay((uv_tcp_t *)stream, 1), "uv_tcp_nodelay");
    uv_checked(uv_read_start(stream, on_alloc, on_batch_read), "uv_read_start");
    batch.start_ns = wall_ns();
    for (uint64_t i = 0; i < batch.count; i++)
        uv_checked(uv_write(&batch.requests[i], stream, &block, 1, on_batch_written), "uv_write");
    uv_checked(uv_shutdown(&batch.shutdown, stream, on_batch_shutdown), "uv_shutdown");
}

static void write_batch(const uint64_t *numbers) {
    uv_tcp_t tcp;
    uv_connect_t connect;
    struct sockaddr_in address = local_address((uint16_t)numbers[0]);
    batch.count = numbers[1];
    batch.size = numbers[2];
    batch.requests = allocated(calloc(batch.count, sizeof *batch.requests));
    batch.block = allocated(malloc(batch.size));
    memset(batch.block, 'x', batch.size);
    uv_checked(uv_loop_init(&loop), "uv_loop_init");
    uv_checked(uv_tcp_init(&loop, &tcp), "uv_tcp_init");
    uv_checked(uv_tcp_connect(&connect, &tcp, (struct sockaddr *)&address, on_batch_connected), "uv_tcp_connect");
    uv_run(&loop, UV_RUN_DEFAULT);
}

// pipes: uv_poll_t, which tells only that there is something to read, costs less here than uv_pipe_t.

struct reader {
    uv_poll_t poll;
    struct pair pair;
};

static struct {
    struct reader *readers;
    uint64_t count, bytes_read, to_read, written, to_write;
} ring;

static void on_readable(uv_poll_t *poll, int status, int events) {
    (void)events;
    uv_checked(status, "uv_poll");
    struct reader *reader = (struct reader *)poll;
    ssize_t size = recv(reader->pair.read, buffer, sizeof buffer, 0);
    if (size <= 0) fail("recv", strerror(errno));
    struct reader *next = reader + 1 < ring.readers + ring.count ? reader + 1 : ring.readers;
    ring.bytes_read += (uint64_t)size;
    for (; size > 0 && ring.written < ring.to_write; size--, ring.written++) send_byte(next->pair.write);
    if (ring.bytes_read >= ring.to_read) uv_stop(&loop);
}

static void open_readers(void) {
    ring.readers = allocated(calloc(ring.count, sizeof *ring.readers));
    for (uint64_t i = 0; i < ring.count; i++) {
        struct reader *reader = &ring.readers[i];
        reader->pair = open_pair();
        uv_checked(uv_poll_init(&loop, &reader->poll, reader->pair.read), "uv_poll_init");
        uv_checked(uv_poll_start(&reader->poll, UV_READABLE, on_readable), "uv_poll_start");
    }
}

static void pipes(const uint64_t *numbers) {
    uint64_t at_once = numbers[1];
    uv_checked(uv_loop_init(&loop), "uv_loop_init");
    ring.count = numbers[0];
    ring.to_write = numbers[2];
    ring.to_read = at_once + ring.to_write;
    open_readers();
    for (int repetition = 0; repetition < PIPES_REPETITIONS; repetition++) {
        ring.bytes_read = ring.written = 0;
        for (uint64_t i = 0; i < at_once; i++) send_byte(ring.readers[i * ring.count / at_once].pair.write);
        uint64_t start = wall_ns();
        uv_run(&loop, UV_RUN_DEFAULT);
        counted_result(ring.bytes_read, ring.to_read, wall_ns() - start);
    }
}

// post-remote: the async handle is sent only for the first of a queue, since all of it is taken at once.

struct closure {
    struct closure *next;
    void (*run)(struct closure *);
    uint64_t *counter;
};

static struct {
    uv_mutex_t mutex;
    uv_async_t async;
    struct closure *first, **last;
    uint64_t counter, count;
} remote;

static void add_one(struct closure *closure) { ++*closure->counter; }

static void post_closure(void (*run)(struct closure *), uint64_t *counter) {
    struct closure *closure = allocated(malloc(sizeof *closure));
    closure->next = NULL;
    closure->run = run;
    closure->counter = counter;
    uv_mutex_lock(&remote.mutex);
    bool was_empty = !remote.first;
    *remote.last = closure;
    remote.last = &closure->next;
    uv_mutex_unlock(&remote.mutex);
    if (was_empty) uv_checked(uv_async_send(&remote.async), "uv_async_send");
}

static void on_posted(uv_async_t *async) {
    (void)async;
    uv_mutex_lock(&remote.mutex);
    struct closure *closure = remote.first;
    remote.first = NULL;
    remote.last = &remote.first;
    uv_mutex_unlock(&remote.mutex);
    while (closure) {
        struct closure *next = closure->next;
        closure->run(closure);
        free(closure);
        closure = next;
    }
    if (remote.counter >= remote.count) uv_stop(&loop);
}

static void post_all(void *unused) {
    (void)unused;
    for (uint64_t i = 0; i < remote.count; i++) post_closure(add_one, &remote.counter);
}

static void post_remote(const uint64_t *numbers) {
    uv_thread_t thread;
    remote.count = numbers[0];
    remote.last = &remote.first;
    uv_checked(uv_loop_init(&loop), "uv_loop_init");
    uv_checked(uv_mutex_init(&remote.mutex), "uv_mutex_init");
    uv_checked(uv_async_init(&loop, &remote.async, on_posted), "uv_async_init");
    for (int repetition = 0; repetition < REPETITIONS; repetition++) {
        remote.counter = 0;
        uint64_t start = wall_ns();
        uv_checked(uv_thread_create(&thread, post_all, NULL), "uv_thread_create");
        uv_run(&loop, UV_RUN_DEFAULT);
        uint64_t end = wall_ns();
        uv_checked(uv_thread_join(&thread), "uv_thread_join");
        counted_result(remote.counter, remote.count, end - start);
    }
}

// timers-cancel, timers-fire

static uint64_t fired;

static void on_fired(uv_timer_t *timer) {
    (void)timer;
    fired++;
}

static uv_timer_t *new_timers(uint64_t count) {
    uv_timer_t *timers = allocated(calloc(count, sizeof *timers));
    uv_checked(uv_loop_init(&loop), "uv_loop_init");
    for (uint64_t i = 0; i < count; i++) uv_timer_init(&loop, &timers[i]);
    return timers;
}

static void timers_cancel(const uint64_t *numbers) {
    uint64_t count = numbers[0];
    uv_timer_t *timers = new_timers(count);
    struct schedule schedule = far_schedule(count);
    for (int repetition = 0; repetition < cancel_repetitions(numbers[0]); repetition++) {
        uint64_t start = cpu_ns();
        for (uint64_t i = 0; i < count; i++) uv_timer_start(&timers[i], on_fired, schedule.delays_ms[i], 0);
        for (uint64_t i = 0; i < count; i++) uv_timer_stop(&timers[schedule.order[i]]);
        counted_result(uv_loop_alive(&loop) ? 0 : count, count, cpu_ns() - start);
    }
}

static void timers_fire(const uint64_t *numbers) {
    uint64_t count = numbers[0];
    uv_timer_t *timers = new_timers(count);
    struct schedule schedule = near_schedule(count);
    for (int repetition = 0; repetition < REPETITIONS; repetition++) {
        fired = 0;
        uint64_t start = cpu_ns();
        uv_update_time(&loop);
        for (uint64_t i = 0; i < count; i++) uv_timer_start(&timers[i], on_fired, schedule.delays_ms[i], 0);
        uv_run(&loop, UV_RUN_DEFAULT);
        counted_result(fired, count, cpu_ns() - start);
    }
}

static void version(const uint64_t *numbers) {
    (void)numbers;
    printf("libuv %s\n", uv_version_string());
}

int main(int argc, char **argv) {
    static const char no_queue[] =
        "libuv has no queue of handlers for its own thread: uv_idle repeats one, uv_async_send merges calls";
    static const struct workload workloads[] = {
        {"echo", 0, echo, NULL},
        {"echo-timeout", 0, echo_timeout, NULL},
        {"write-batch", 3, write_batch, NULL},
        {"pipes", 3, pipes, NULL},
        {"post", 1, NULL, no_queue},
        {"post-remote", 1, post_remote, NULL},
        {"timers-cancel", 1, timers_cancel, NULL},
        {"timers-fire", 1, timers_fire, NULL},
        {"version", 0, version, NULL},
        {NULL, 0, NULL, NULL},
    };
    return run_workload(argc, argv, workloads);
}
