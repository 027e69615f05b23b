// What the peers in C and C++ share: command line, clocks, random numbers, sockets that are not the library's to make.
#ifndef PEER_H
#define PEER_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    BACKLOG = 4096,
    BUFFER_SIZE = 64 * 1024,
    SMALL_BUFFER_SIZE = 4 * 1024,
    IDLE_SECONDS = 60,
    PIPES_REPETITIONS = 25,
    POST_AT_ONCE = 100,
    REPETITIONS = 5,
    TIMERS_CANCELLED = 1000000,
};

// What went wrong ends the program: a bench that limps on measures something else.
__attribute__((noreturn)) static inline void fail(const char *what, const char *why) {
    fprintf(stderr, "%s: %s\n", what, why);
    exit(1);
}

static inline int checked(int result, const char *what) {
    if (result < 0) fail(what, strerror(errno));
    return result;
}

static inline void *allocated(void *memory) {
    if (!memory) fail("malloc", strerror(ENOMEM));
    return memory;
}

static inline uint64_t clock_ns(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static inline uint64_t wall_ns(void) { return clock_ns(CLOCK_MONOTONIC); }
static inline uint64_t cpu_ns(void) { return clock_ns(CLOCK_PROCESS_CPUTIME_ID); }

static inline void result(uint64_t operations, uint64_t nanoseconds) {
    printf("result %llu %llu\n", (unsigned long long)operations, (unsigned long long)nanoseconds);
    fflush(stdout);
}

// One repetition is over: `done` of the `expected` operations were counted.
static inline void counted_result(uint64_t done, uint64_t expected, uint64_t nanoseconds) {
    if (done != expected) fail("repetition", "operations lost or doubled");
    result(expected, nanoseconds);
}

static inline uint64_t random_below(uint64_t *x, uint64_t range) {
    *x = *x * 6364136223846793005u + 1442695040888963407u;
    return (*x >> 33) % range;
}

// When `count` timers are due, and the order in which they are cancelled. Made before the time is taken.
struct schedule {
    uint32_t *delays_ms, *order;
};

// Of the workload timers-shuffle, which is timers-cancel in another order.
static bool is_shuffled;

// Fisher-Yates from the end.
static inline uint32_t *order_of(uint64_t count, uint64_t *x) {
    uint32_t *order = (uint32_t *)allocated(malloc(count * sizeof *order));
    for (uint64_t i = 0; i < count; i++) order[i] = (uint32_t)i;
    for (uint64_t i = is_shuffled ? count - 1 : 0; i > 0; i--) {
        uint64_t j = random_below(x, i + 1);
        uint32_t other = order[j];
        order[j] = order[i];
        order[i] = other;
    }
    return order;
}

static inline struct schedule new_schedule(uint64_t count, uint32_t least_ms, uint32_t most_ms) {
    uint64_t x = 1;
    struct schedule schedule;
    schedule.delays_ms = (uint32_t *)allocated(malloc(count * sizeof *schedule.delays_ms));
    for (uint64_t i = 0; i < count; i++)
        schedule.delays_ms[i] = least_ms + (uint32_t)random_below(&x, most_ms - least_ms + 1);
    schedule.order = order_of(count, &x);
    return schedule;
}

static inline struct schedule far_schedule(uint64_t count) { return new_schedule(count, 1000, 3600000); }
static inline struct schedule near_schedule(uint64_t count) { return new_schedule(count, 1, 100); }

// A thousand timers are cancelled before the processor knows the way, so they are repeated until they are many.
static inline int cancel_repetitions(uint64_t count) {
    uint64_t enough = TIMERS_CANCELLED / (count > 0 ? count : 1);
    return enough > REPETITIONS ? (int)enough : REPETITIONS;
}

static inline struct sockaddr_in local_address(uint16_t port) {
    struct sockaddr_in address;
    memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

static inline void say_listening(uint16_t port) {
    printf("listening on 127.0.0.1:%u\n", port);
    fflush(stdout);
}

static inline uint16_t port_of(int listener) {
    struct sockaddr_in address;
    socklen_t length = sizeof address;
    checked(getsockname(listener, (struct sockaddr *)&address, &length), "getsockname");
    return ntohs(address.sin_port);
}

static inline void set_nodelay(int fd) {
    int on = 1;
    checked(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on), "TCP_NODELAY");
}

// The two ends of a pair of the workload `pipes`: a byte sent on `write` arrives at `read`.
struct pair {
    int read, write;
};

static inline struct pair open_pair(void) {
    int ends[2];
    checked(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), "socketpair");
    struct pair pair = {ends[0], ends[1]};
    return pair;
}

static inline void send_byte(int fd) {
    if (send(fd, "x", 1, MSG_NOSIGNAL) != 1) fail("send", strerror(errno));
}

// How much a server reads at once; less in the workload echo-4k, which is echo otherwise. (So is echo-64k: no buffer grows
// here.)
static size_t read_size = BUFFER_SIZE;

// `missing` says why there is no `run`.
struct workload {
    const char *name;
    int numbers;
    void (*run)(const uint64_t *numbers);
    const char *missing;
};

static inline bool parse_number(const char *text, uint64_t *number) {
    char *end;
    errno = 0;
    *number = strtoull(text, &end, 10);
    return *text >= '0' && *text <= '9' && *end == 0 && errno == 0 && *number > 0 && *number <= UINT32_MAX;
}

static inline int usage(const char *program) {
    fprintf(stderr, "usage: %s WORKLOAD [NUMBER...]\n", program);
    return 2;
}

static inline void raise_descriptor_limit(void) {
    struct rlimit limit;
    checked(getrlimit(RLIMIT_NOFILE, &limit), "getrlimit");
    limit.rlim_cur = limit.rlim_max;
    checked(setrlimit(RLIMIT_NOFILE, &limit), "setrlimit");
}

// Runs the workload the command line names; `all` ends with a nameless one.
static inline int run_workload(int argc, char **argv, const struct workload *all) {
    uint64_t numbers[3] = {0, 0, 0};
    if (argc < 2) return usage(argv[0]);
    is_shuffled = strcmp(argv[1], "timers-shuffle") == 0;
    if (strcmp(argv[1], "echo-4k") == 0) read_size = SMALL_BUFFER_SIZE;
    bool is_echo = strcmp(argv[1], "echo-4k") == 0 || strcmp(argv[1], "echo-64k") == 0;
    const char *name = is_shuffled ? "timers-cancel" : is_echo ? "echo" : argv[1];
    while (all->name && strcmp(name, all->name) != 0) all++;
    if (!all->name) return usage(argv[0]);
    if (!all->run) {
        fprintf(stderr, "%s: %s\n", all->name, all->missing);
        return 3;
    }
    if (argc != 2 + all->numbers) return usage(argv[0]);
    for (int i = 0; i < all->numbers; i++)
        if (!parse_number(argv[2 + i], &numbers[i])) return usage(argv[0]);
    signal(SIGPIPE, SIG_IGN);
    raise_descriptor_limit();
    all->run(numbers);
    return 0;
}

#endif
