//! What the counting tools say at their end, as numbers.

/// Instructions, in the file of `valgrind --tool=callgrind`. Where a part of it was written before the end, the last
/// line of its kind counts.
pub fn instructions(file: &str) -> Option<f64> {
    let number = |line: &str| line.strip_prefix("summary: ").or(line.strip_prefix("totals: "))?.trim().parse().ok();
    file.lines().rev().find_map(number)
}

/// System calls, in the table of `strace -c -U calls,name`.
pub fn system_calls(table: &str) -> Option<f64> {
    table.lines().rev().find_map(|line| match line.split_whitespace().collect::<Vec<_>>()[..] {
        [calls, "total"] => calls.parse().ok(),
        _ => None,
    })
}

/// Allocations, in the log of `valgrind --tool=memcheck`: `==7== total heap usage: 1,234 allocs, 1,200 frees, ...`.
pub fn allocations(log: &str) -> Option<f64> {
    let (_, rest) = log.rsplit_once("total heap usage: ")?;
    rest.split_once(" allocs")?.0.replace(',', "").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callgrind() {
        let file = "# callgrind format\nevents: Ir\nsummary: 123456\n\nfn=(1) main\n12 7\n\ntotals: 123456\n";
        assert_eq!(instructions(file), Some(123_456.0));
        assert_eq!(instructions("events: Ir\nsummary: 99\n"), Some(99.0));
        assert_eq!(instructions("fn=(1) main\n"), None);
    }

    #[test]
    fn strace() {
        let table = "    calls syscall\n--------- ----------------\n    32016 sendto\n      250 epoll_wait\n\
                     --------- ----------------\n    64296 total\n";
        assert_eq!(system_calls(table), Some(64_296.0));
        assert_eq!(system_calls("    calls syscall\n"), None);
    }

    #[test]
    fn memcheck() {
        let log = "==12== HEAP SUMMARY:\n==12==     in use at exit: 66,560 bytes in 3 blocks\n\
                   ==12==   total heap usage: 1,234,567 allocs, 1,200 frees, 99,999 bytes allocated\n";
        assert_eq!(allocations(log), Some(1_234_567.0));
        assert_eq!(allocations("==12== \n"), None);
    }
}
