//! Taking tokens: the arithmetic is `sluice_common::take`, here is the concurrency.

use aya_ebpf::btf_maps::Array;
use sluice_common::{BUCKET_SETS, BUCKET_WAYS, BucketSet, Gcra, TICK_SHIFT};

use crate::{atomic::compare_exchange, clock::now_ns};

/// A retry is needed only when another CPU takes a token of the same source at the same instant.
const BUCKET_ATTEMPTS: usize = 4;

/// Takes a token from the bucket of the source with this hash.
#[inline(always)]
pub(crate) fn take(table: &Array<BucketSet, BUCKET_SETS>, hash: u64, gcra: Gcra) -> bool {
    let Some(set) = table.get_ptr_mut(hash as u32 & (BUCKET_SETS as u32 - 1)) else {
        return true;
    };
    let set = set.cast::<u64>();
    let now_ticks = now_ns() >> TICK_SHIFT;
    for _ in 0..BUCKET_ATTEMPTS {
        // SAFETY: `take` asks only for words of the set, whose words are aligned. A volatile read of such a word is one
        // instruction, like the kernel's READ_ONCE; BPF has no atomic load before its fourth instruction set.
        let read = |way: usize| unsafe { set.add(way).read_volatile() };
        let Some(grant) = sluice_common::take(read, hash, now_ticks, gcra) else {
            return false;
        };
        // SAFETY: as above; the mask, a no-op, shows the verifier that the index is within the set.
        if unsafe { compare_exchange(set.add(grant.way & (BUCKET_WAYS - 1)), grant.seen, grant.word) } {
            return true;
        }
    }
    // Others in this set were granted meanwhile, one for each attempt: contention is no reason to cut anyone off.
    true
}
