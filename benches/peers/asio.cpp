// build: g++ -pthread -O3 -std=c++17 -Wall -Wextra asio.cpp -o OUT
//
// Boost.Asio, as its examples have it: a session that lives in the handlers it waits with, async_read_some, then
// async_write of what came, so that a client which does not read is slowed down by itself. Each session has a buffer
// of its own (64 KiB; what no message reaches is never resident): one operation of reading is outstanding on each.
// The loop is told that one thread runs it, and sockets and timers that it is an io_context, so that neither looks
// their executor up through a type-erased one.
#include "peer.h"

#include <array>
#include <boost/asio.hpp>
#include <boost/version.hpp>
#include <chrono>
#include <exception>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace asio = boost::asio;
using boost::system::error_code;
using Clock = std::chrono::steady_clock;
using Executor = asio::io_context::executor_type;
using Acceptor = asio::basic_socket_acceptor<asio::ip::tcp, Executor>;
using TcpSocket = asio::basic_stream_socket<asio::ip::tcp, Executor>;
using LocalSocket = asio::basic_stream_socket<asio::local::stream_protocol, Executor>;
using Timer = asio::basic_waitable_timer<Clock, asio::wait_traits<Clock>, Executor>;

namespace {

// The hint that says that one thread runs the loop, and leaves it open to others that post to it.
constexpr int one_thread = 1;

void check(const error_code& error, const char* what) {
    if (error) fail(what, error.message().c_str());
}

asio::ip::tcp::endpoint local_endpoint(uint64_t port) {
    return {asio::ip::address_v4::loopback(), static_cast<uint16_t>(port)};
}

// echo, echo-timeout

class Session : public std::enable_shared_from_this<Session> {
public:
    explicit Session(TcpSocket socket) : socket_(std::move(socket)) {}

    void start() { read(); }

private:
    void read() {
        socket_.async_read_some(asio::buffer(data_, read_size),
                                [self = shared_from_this()](const error_code& error, size_t size) {
                                    if (!error) self->write(size);
                                });
    }

    void write(size_t size) {
        asio::async_write(socket_, asio::buffer(data_, size),
                          [self = shared_from_this()](const error_code& error, size_t) {
                              if (!error) self->read();
                          });
    }

    TcpSocket socket_;
    std::array<char, BUFFER_SIZE> data_;
};

class TimedSession : public std::enable_shared_from_this<TimedSession> {
public:
    explicit TimedSession(TcpSocket socket) : socket_(std::move(socket)), idle_(socket_.get_executor()) {}

    void start() {
        push_back_timeout();
        read();
    }

private:
    void read() {
        socket_.async_read_some(asio::buffer(data_),
                                [self = shared_from_this()](const error_code& error, size_t size) {
                                    if (error) return self->close();
                                    self->push_back_timeout();
                                    self->write(size);
                                });
    }

    void write(size_t size) {
        asio::async_write(socket_, asio::buffer(data_, size),
                          [self = shared_from_this()](const error_code& error, size_t) {
                              if (error) return self->close();
                              self->read();
                          });
    }

    // A wait that ended before it was pushed back has a handler on its way, which the expiry time stops.
    void push_back_timeout() {
        idle_.expires_after(std::chrono::seconds(IDLE_SECONDS));
        idle_.async_wait([self = shared_from_this()](const error_code& error) {
            if (!error && self->idle_.expiry() <= Clock::now()) self->close();
        });
    }

    void close() {
        error_code ignored;
        idle_.cancel();
        socket_.close(ignored);
    }

    TcpSocket socket_;
    Timer idle_;
    std::array<char, BUFFER_SIZE> data_;
};

template <class SomeSession>
void accept_next(Acceptor& acceptor) {
    acceptor.async_accept([&acceptor](const error_code& error, TcpSocket socket) {
        if (error != asio::error::connection_aborted) {
            check(error, "accept");
            socket.set_option(asio::ip::tcp::no_delay(true));
            std::make_shared<SomeSession>(std::move(socket))->start();
        }
        accept_next<SomeSession>(acceptor);
    });
}

template <class SomeSession>
void serve(const uint64_t*) {
    asio::io_context io(one_thread);
    Acceptor acceptor(io);
    acceptor.open(asio::ip::tcp::v4());
    acceptor.bind(local_endpoint(0));
    acceptor.listen(BACKLOG);
    accept_next<SomeSession>(acceptor);
    say_listening(acceptor.local_endpoint().port());
    io.run();
}

// write-batch: while one string is written, the next writes are gathered in the other.

class Writer {
public:
    explicit Writer(asio::io_context& io, uint64_t port) : socket_(io) {
        socket_.connect(local_endpoint(port));
        socket_.set_option(asio::ip::tcp::no_delay(true));
    }

    void write(const std::string& data) {
        gathered_ += data;
        if (writing_.empty()) write_gathered();
    }

    void end() {
        ended_ = true;
        if (writing_.empty()) shut_down();
    }

    void wait_for_close() {
        socket_.async_read_some(asio::buffer(&byte_, 1), [this](const error_code& error, size_t) {
            if (error != asio::error::eof) check(error, "read");
            if (!error || !writing_.empty()) fail("read", "the server has not only closed");
        });
    }

private:
    void write_gathered() {
        writing_.swap(gathered_);
        asio::async_write(socket_, asio::buffer(writing_), [this](const error_code& error, size_t) {
            check(error, "write");
            writing_.clear();
            if (!gathered_.empty())
                write_gathered();
            else if (ended_)
                shut_down();
        });
    }

    void shut_down() { socket_.shutdown(TcpSocket::shutdown_send); }

    TcpSocket socket_;
    std::string writing_, gathered_;
    bool ended_ = false;
    char byte_;
};

void write_batch(const uint64_t* numbers) {
    asio::io_context io(one_thread);
    Writer writer(io, numbers[0]);
    std::string block(numbers[2], 'x');
    writer.wait_for_close();
    uint64_t start = wall_ns();
    for (uint64_t i = 0; i < numbers[1]; i++) writer.write(block);
    writer.end();
    io.run();
    result(numbers[1], wall_ns() - start);
}

// pipes

struct Pair {
    explicit Pair(asio::io_context& io) : reader(io), writer(io) {
        asio::local::connect_pair(reader, writer);
        writer.non_blocking(true);
    }

    LocalSocket reader, writer;
    std::array<char, 1024> data;
};

class Ring {
public:
    explicit Ring(const uint64_t* numbers) : at_once_(numbers[1]), to_write_(numbers[2]) {
        pairs_.reserve(numbers[0]);
        for (uint64_t i = 0; i < numbers[0]; i++) {
            pairs_.emplace_back(io_);
            read(i);
        }
    }

    void repeat() {
        bytes_read_ = written_ = 0;
        for (uint64_t i = 0; i < at_once_; i++) write_byte(i * pairs_.size() / at_once_);
        uint64_t start = wall_ns();
        io_.restart();
        io_.run();
        counted_result(bytes_read_, at_once_ + to_write_, wall_ns() - start);
    }

private:
    void read(uint64_t i) {
        pairs_[i].reader.async_read_some(asio::buffer(pairs_[i].data), [this, i](const error_code& error, size_t size) {
            check(error, "read");
            pass_on(i, size);
            read(i);
        });
    }

    void pass_on(uint64_t i, size_t size) {
        uint64_t next = i + 1 < pairs_.size() ? i + 1 : 0;
        bytes_read_ += size;
        for (; size > 0 && written_ < to_write_; size--, written_++) write_byte(next);
        if (bytes_read_ >= at_once_ + to_write_) io_.stop();
    }

    void write_byte(uint64_t i) { pairs_[i].writer.write_some(asio::buffer("x", 1)); }

    asio::io_context io_{one_thread};
    std::vector<Pair> pairs_;
    uint64_t at_once_, to_write_, bytes_read_ = 0, written_ = 0;
};

void pipes(const uint64_t* numbers) {
    Ring ring(numbers);
    for (int repetition = 0; repetition < PIPES_REPETITIONS; repetition++) ring.repeat();
}

// post, post-remote

struct Relay {
    asio::io_context io{one_thread};
    uint64_t count, posted = 0, ran = 0;

    void post_next() {
        if (posted == count) return;
        posted++;
        asio::post(io, [this] {
            ran++;
            post_next();
        });
    }
};

void post(const uint64_t* numbers) {
    for (int repetition = 0; repetition < REPETITIONS; repetition++) {
        Relay relay;
        relay.count = numbers[0];
        uint64_t start = wall_ns();
        for (int i = 0; i < POST_AT_ONCE; i++) relay.post_next();
        relay.io.run();
        counted_result(relay.ran, relay.count, wall_ns() - start);
    }
}

void post_remote(const uint64_t* numbers) {
    const uint64_t count = numbers[0];
    asio::io_context io(one_thread);
    for (int repetition = 0; repetition < REPETITIONS; repetition++) {
        uint64_t ran = 0;
        auto work = asio::make_work_guard(io);
        uint64_t start = wall_ns();
        std::thread poster([&] {
            for (uint64_t i = 0; i < count; i++)
                asio::post(io, [&] {
                    if (++ran == count) work.reset();
                });
        });
        io.run();
        uint64_t end = wall_ns();
        poster.join();
        io.restart();
        counted_result(ran, count, end - start);
    }
}

// timers-cancel, timers-fire: started by a handler, as in most programs; deadlines are counted from one reading of the
// clock.

struct Timers {
    Timers(uint64_t count, const schedule& schedule) : plan(schedule) {
        timers.reserve(count);
        for (uint64_t i = 0; i < count; i++) timers.emplace_back(io);
    }

    void start() {
        fired = cancelled = 0;
        auto now = Clock::now();
        for (size_t i = 0; i < timers.size(); i++) {
            timers[i].expires_at(now + std::chrono::milliseconds(plan.delays_ms[i]));
            timers[i].async_wait([this](const error_code& error) { ++(error ? cancelled : fired); });
        }
    }

    void cancel() {
        for (size_t i = 0; i < timers.size(); i++) timers[plan.order[i]].cancel();
    }

    template <class Handler>
    void run(Handler handler) {
        io.restart();
        asio::post(io, handler);
        io.run();
    }

    schedule plan;
    asio::io_context io{one_thread};
    std::vector<Timer> timers;
    uint64_t fired, cancelled;
};

void timers_cancel(const uint64_t* numbers) {
    Timers all(numbers[0], far_schedule(numbers[0]));
    for (int repetition = 0; repetition < cancel_repetitions(numbers[0]); repetition++) {
        uint64_t start = cpu_ns();
        all.run([&all] {
            all.start();
            all.cancel();
        });
        counted_result(all.cancelled, numbers[0], cpu_ns() - start);
    }
}

void timers_fire(const uint64_t* numbers) {
    Timers all(numbers[0], near_schedule(numbers[0]));
    for (int repetition = 0; repetition < REPETITIONS; repetition++) {
        uint64_t start = cpu_ns();
        all.run([&all] { all.start(); });
        counted_result(all.fired, numbers[0], cpu_ns() - start);
    }
}

void version(const uint64_t*) {
    printf("Boost.Asio %d.%d.%d\n", BOOST_VERSION / 100000, BOOST_VERSION / 100 % 1000, BOOST_VERSION % 100);
}

}  // namespace

int main(int argc, char** argv) {
    static const workload workloads[] = {
        {"echo", 0, serve<Session>, nullptr},
        {"echo-timeout", 0, serve<TimedSession>, nullptr},
        {"write-batch", 3, write_batch, nullptr},
        {"pipes", 3, pipes, nullptr},
        {"post", 1, post, nullptr},
        {"post-remote", 1, post_remote, nullptr},
        {"timers-cancel", 1, timers_cancel, nullptr},
        {"timers-fire", 1, timers_fire, nullptr},
        {"version", 0, version, nullptr},
        {nullptr, 0, nullptr, nullptr},
    };
    try {
        return run_workload(argc, argv, workloads);
    } catch (const std::exception& error) {
        fail(argv[1], error.what());
    }
}
