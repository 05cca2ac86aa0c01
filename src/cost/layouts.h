// The layouts of a cluster: the one list that `plan --auto`, every pipeline system of `compare` and
// the bound over all layouts go through.
#pragma once

#include <string>
#include <vector>

#include "infinipipe/core/plan.h"
#include "infinipipe/cost/profile.h"

namespace infinipipe {

struct Layout {
  Parallelism parallelism;
  // Why it cannot run, in one line; empty: it can, if the batch fits.
  std::string left_out;
  // What it pays beside its figures: uneven_heads(); empty: nothing.
  std::string mark;

  bool possible() const { return left_out.empty(); }
};

// All stages x sequence_parallel x data_parallel = `devices`, sequence parallel a power of two, in
// order of (stages, sequence_parallel). A group may span nodes. Left out are those with
//  - more stages than `layers`, or another number of them than the profile's stage_speed has;
//  - a group that neither lies within a node nor fills whole ones;
//  - heads (Profile::heads) that the group cannot share;
//  - a degree of all_to_all, all_gather or reduce_scatter that they need and the profile lacks:
//    nothing is interpolated.
// Throws InputError for devices, devices_per_node or layers < 1.
std::vector<Layout> cluster_layouts(const Profile& profile, int layers, int devices,
                                    int devices_per_node);

}  // namespace infinipipe
