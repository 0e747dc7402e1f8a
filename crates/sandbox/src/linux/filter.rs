//! Filters of system calls (seccomp): what a command has no honest use for, and what would lead around its namespaces.

use std::collections::BTreeMap;

use nix::libc;
use seccompiler::{
    BpfProgram, Error, SeccompAction, SeccompCmpArgLen as Length, SeccompCmpOp as Op, SeccompCondition as Condition,
    SeccompFilter, SeccompRule, TargetArch, apply_filter,
};

use crate::Network;

/// New namespaces: in one of its own a process has powers over mounts again.
const NAMESPACES: libc::c_int = libc::CLONE_NEWUSER
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWCGROUP;

/// Linux 6.15; the same number on all architectures.
const OPEN_TREE_ATTR: libc::c_long = 467;

/// Refused with "operation not permitted".
const REFUSED: [libc::c_long; 37] = [
    // Mounts.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    OPEN_TREE_ATTR,
    libc::SYS_fsopen,
    libc::SYS_fsmount,
    libc::SYS_fsconfig,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_setns,
    // The kernel and the machine.
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_syslog,
    libc::SYS_vhangup,
    // Large parts of the kernel that attacks come through, and that data processing does without.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_fanotify_init,
    libc::SYS_open_by_handle_at,
    // Keys are the user's, not the process's.
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_personality,
];

/// Answered as an older kernel would, so that programs do it in another way: flags of `clone3` can't be looked at,
/// what goes through an `io_uring` passes no filter, and a part of a huge page that was put into a pipe keeps all of
/// that page, which is counted nowhere.
const UNKNOWN: [libc::c_long; 5] = [
    libc::SYS_clone3,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_vmsplice,
];

/// Without namespaces, what looks into or changes other processes.
const OF_OTHERS: [libc::c_long; 6] = [
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_kcmp,
    libc::SYS_pidfd_getfd,
    libc::SYS_process_madvise,
];
/// The same where the first argument names a process other than the caller. Numbers of its own threads are refused with
/// them, because a filter can't tell those from others.
const OF_OTHERS_BY_FIRST: [libc::c_long; 7] = [
    libc::SYS_prlimit64,
    libc::SYS_sched_setscheduler,
    libc::SYS_sched_setparam,
    libc::SYS_sched_setattr,
    libc::SYS_sched_setaffinity,
    libc::SYS_migrate_pages,
    libc::SYS_move_pages,
];
/// The same for the second; and for the first where it says that the second is a user: nobody is the caller's own then.
const OF_OTHERS_BY_SECOND: [(libc::c_long, u64); 2] =
    [(libc::SYS_setpriority, libc::PRIO_USER as u64), (libc::SYS_ioprio_set, IOPRIO_WHO_USER)];
const IOPRIO_WHO_USER: u64 = 3;

/// Requests to a terminal; their type differs between C libraries.
const TIOCSTI: u64 = 0x5412;
const TIOCLINUX: u64 = 0x541C;

/// Bytes of the largest segment of System V shared memory.
const LARGEST_SEGMENT: u64 = 64 << 10;

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Calls of x86-64 in its 32-bit form (x32) have numbers of their own from this one on, which no rule names. Answered as
/// by kernels that don't have them, as most do not.
#[cfg(target_arch = "x86_64")]
const X32: u32 = 0x4000_0000;

/// Allows all below [`X32`].
#[cfg(target_arch = "x86_64")]
fn without_x32() -> BpfProgram {
    let step = |code: u32, jt, jf, k| seccompiler::sock_filter { code: code as u16, jt, jf, k };
    vec![
        // The number of the call is the first word of what a filter sees.
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        step(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, 0, 1, X32),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ]
}

/// Compiled filters, each for one error.
pub(super) struct Filters {
    refused: BpfProgram,
    unknown: BpfProgram,
    others: BpfProgram,
    offline: BpfProgram,
}

impl Filters {
    pub(super) fn compile() -> Result<Self, Error> {
        let mut refused: Rules = REFUSED.iter().map(|call| (*call, Vec::new())).collect();
        for call in [libc::SYS_clone, libc::SYS_unshare] {
            let flag = |flag: u64| rule(0, Op::MaskedEq(flag), flag);
            let flags = (0..32).map(|bit| 1_u64 << bit).filter(|bit| NAMESPACES as u64 & bit != 0);
            refused.insert(call, flags.map(flag).collect::<Result<_, _>>()?);
        }
        // Open files of a thread of its own are in nobody's list, so that files in memory would not be counted there.
        let files = rule(0, Op::MaskedEq(libc::CLONE_FILES as u64), libc::CLONE_FILES as u64)?;
        refused.entry(libc::SYS_unshare).or_default().push(files);
        let (thread, both) = (libc::CLONE_THREAD as u64, (libc::CLONE_THREAD | libc::CLONE_FILES) as u64);
        refused.entry(libc::SYS_clone).or_default().push(rule(0, Op::MaskedEq(both), thread)?);
        // Segments that nobody has attached are counted nowhere; small ones are what databases mark their folders with.
        let large = SeccompRule::new(vec![Condition::new(1, Length::Qword, Op::Gt, LARGEST_SEGMENT)?])?;
        refused.insert(libc::SYS_shmget, vec![large]);
        // Writing what the terminal then takes for typed.
        let typed = [TIOCSTI, TIOCLINUX].map(|request| rule(1, Op::Eq, request));
        refused.insert(libc::SYS_ioctl, typed.into_iter().collect::<Result<_, _>>()?);
        let unknown = UNKNOWN.iter().map(|call| (*call, Vec::new())).collect();
        let mut others: Rules = OF_OTHERS.iter().map(|call| (*call, Vec::new())).collect();
        for call in OF_OTHERS_BY_FIRST {
            others.insert(call, vec![rule(0, Op::Ne, 0)?]);
        }
        for (call, user) in OF_OTHERS_BY_SECOND {
            others.insert(call, vec![rule(1, Op::Ne, 0)?, rule(0, Op::Eq, user)?]);
        }
        let offline = Rules::from([(libc::SYS_socket, vec![rule(0, Op::Ne, libc::AF_UNIX as u64)?])]);
        Ok(Self {
            refused: program(refused, libc::EPERM)?,
            unknown: program(unknown, libc::ENOSYS)?,
            others: program(others, libc::EPERM)?,
            offline: program(offline, libc::ENETUNREACH)?,
        })
    }

    /// Filters what this process and those it starts may call, from now on.
    pub(super) fn apply(&self, apart: bool, network: Network) -> Result<(), Error> {
        #[cfg(target_arch = "x86_64")]
        apply_filter(&without_x32())?;
        apply_filter(&self.refused)?;
        apply_filter(&self.unknown)?;
        if !apart {
            apply_filter(&self.others)?;
        }
        if network == Network::Off {
            apply_filter(&self.offline)?;
        }
        Ok(())
    }
}

/// Holds where the low half of an argument compares so.
fn rule(argument: u8, op: Op, value: u64) -> Result<SeccompRule, Error> {
    Ok(SeccompRule::new(vec![Condition::new(argument, Length::Dword, op, value)?])?)
}

fn program(rules: Rules, error: i32) -> Result<BpfProgram, Error> {
    let architecture = TargetArch::try_from(std::env::consts::ARCH)?;
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, SeccompAction::Errno(error as u32), architecture)?;
    Ok(filter.try_into()?)
}
