// Memory in huge pages for what lives long and is read in no order: a million leases are waited for
// less when a page is 2 MiB and not 4 KiB.
#pragma once

namespace muster::base {

// From now on the calling thread allocates where the allocator asks the system for transparent huge
// pages, once there are some 33 MiB; all threads that call this share that place. Short-lived
// memory doesn't belong there: what is freed in a huge page stays resident until the whole page is
// free, or comes back. Does nothing where the program isn't linked to jemalloc
// (docs/adr/0007-jemalloc.md), and where the system doesn't give huge pages
// (/sys/kernel/mm/transparent_hugepage/enabled: never).
void AllocateInHugePages();

}  // namespace muster::base
