// The accounting of docs/profile.md once more, from the documents' text and without the project's
// cost model: slow, with dictionaries, one rule a function. What the simulator is compared with.
#pragma once

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <tuple>
#include <vector>

#include "infinipipe/base/json.h"
#include "infinipipe/core/plan.h"

namespace infinipipe::testing {

class NaiveChecker {
 public:
  struct Result {
    double seconds = 0.0;
    std::vector<double> compute, recompute, peak;
  };

  NaiveChecker(const Plan& plan, const Json& profile, std::size_t replica)
      : plan_(plan), profile_(profile), replica_(plan.replicas[replica]) {
    for (const Replica& r : plan.replicas) {
      for (const Pipeline& pipeline : r.pipelines) {
        for (const Chunk& chunk : pipeline.chunks) {
          for (const Slice& slice : chunk.slices) ++slices_of_[slice.sequence.value()];
        }
      }
    }
  }

  Result run() {
    const int stages = plan_.stage_count();
    std::vector<std::size_t> next(static_cast<std::size_t>(stages), 0);
    std::vector<double> free(static_cast<std::size_t>(stages), 0.0);
    std::map<std::string, double> link_free;
    Result result;
    result.compute.assign(static_cast<std::size_t>(stages), 0.0);
    result.recompute = result.compute;
    bool moved = true;
    while (moved) {
      moved = false;
      for (int p = 0; p < stages; ++p) {
        const auto at = static_cast<std::size_t>(p);
        const auto& list = replica_.instructions[at];
        if (next[at] == list.size()) continue;
        const Instruction i = list[next[at]];
        const std::string name =
            "." + std::to_string(i.pipeline.value()) + "." + std::to_string(i.chunk.value()) + "@";
        double start = free[at];
        if (const std::string input = input_of(i, p, name); !input.empty()) {
          if (!arrived_.contains(input)) continue;
          start = std::max(start, arrived_[input]);
          if (layerwise()) take_waiting(input, start);
        }
        const double compute = compute_seconds(i, p);
        const double recompute = recompute_seconds(i, p);
        const double end = start + compute + recompute;
        result.compute[at] += compute;
        result.recompute[at] += recompute;
        free[at] = end;
        ++next[at];
        moved = true;
        result.seconds = std::max(result.seconds, end);
        if (layerwise()) {
          note_layer_by_layer(i, p, start, end);
        } else {
          note_memory(i, p, start, end);
        }
        const bool gradient = i.op == Op::kBackward || i.op == Op::kInputGrad;
        if (i.op == Op::kForward && p + 1 < stages) {
          send("down" + std::to_string(p), "F" + name + std::to_string(p + 1), end, i, link_free);
        } else if (gradient && p > 0) {
          send("up" + std::to_string(p), "B" + name + std::to_string(p - 1), end, i, link_free);
        }
      }
    }
    for (int p = 0; p < stages; ++p) {
      if (next[static_cast<std::size_t>(p)] !=
          replica_.instructions[static_cast<std::size_t>(p)].size()) {
        throw std::logic_error("the random plan blocks");
      }
      result.peak.push_back(peak(p));
    }
    return result;
  }

 private:
  double get(const char* pointer) const {
    return profile_.at(Json::json_pointer(pointer)).get<double>();
  }
  double ds() const { return plan_.parallelism.sequence_parallel; }
  double L() const { return plan_.layer_count(); }
  double l(int p) const { return plan_.stages[static_cast<std::size_t>(p)].count(); }
  bool first(int p) const { return p == 0; }
  bool last(int p) const { return p + 1 == plan_.stage_count(); }
  double speed(int p) const {
    return profile_.contains("stage_speed")
               ? profile_["stage_speed"][static_cast<std::size_t>(p)].get<double>()
               : 1.0;
  }
  // Devices that share a part of a chunk, and its slices: one part where the whole group has it.
  struct Part {
    double devices = 1.0;
    std::vector<Slice> slices;

    double tokens() const {
      double sum = 0.0;
      for (const Slice& s : slices) sum += static_cast<double>(s.end - s.begin);
      return sum;
    }
  };
  std::vector<Part> parts(const Instruction& i) const {
    const Chunk& chunk = replica_.chunk(i);
    if (chunk.degree == 0) return {{ds(), chunk.slices}};
    std::vector<Part> result;
    std::size_t at = 0;
    for (const int count : chunk.groups) {
      Part part{static_cast<double>(chunk.degree), {}};
      for (int k = 0; k < count; ++k) part.slices.push_back(chunk.slices[at++]);
      if (count > 0) result.push_back(part);
    }
    return result;
  }
  // The slowest part's.
  template <class Of>
  double slowest(const Instruction& i, const Of& of) const {
    double most = 0.0;
    for (const Part& part : parts(i)) most = std::max(most, of(part));
    return most;
  }
  // As many as the group shares where each device has as many as the one that has most of this
  // chunk: what memory and messages count.
  double tokens(const Instruction& i) const {
    double most = 0.0;
    for (const Part& part : parts(i)) most = std::max(most, part.tokens() / part.devices);
    return most * ds();
  }
  bool is_cut(const Slice& slice) const { return slices_of_.at(slice.sequence.value()) > 1; }
  // What a layer of the stage keeps of the chunk: the stage's first layers have the first level.
  Keep keeps(const Instruction& i, int p, int layer) const {
    const Keeping& keeping = replica_.chunk(i).keeping[static_cast<std::size_t>(p)];
    int before = 0;
    for (const KeepLevel& level : kKeepLevels) {
      if (level.keep == Keep::kAll) break;
      before += keeping[level.keep];
      if (layer < before) return level.keep;
    }
    return Keep::kAll;
  }
  int r(const Instruction& i, int p) const {
    int layers = 0;
    while (layers < l(p) && keeps(i, p, layers) != Keep::kAll) ++layers;
    return layers;
  }
  // A layer of that level keeps so many bytes of the chunk beside its input.
  double beside_input(const Instruction& i, Keep keep) const {
    const KeepLevel& level = level_of(keep);
    if (level.profile_bytes == nullptr || !profile_.contains(level.profile_field)) return 0.0;
    const double own = profile_[level.profile_field].value(level.profile_bytes, 0.0);
    return (own + attended(i)) * tokens(i) / ds();
  }
  // Attention's output is there twice where devices share the chunk.
  double attended(const Instruction& i) const {
    const int degree = replica_.chunk(i).degree;
    const bool alone = ds() == 1 || degree == 1;
    return alone ? 0.0 : profile_["memory"].value("attended_bytes_per_token", 0.0);
  }
  // Bytes of a token in one layer that keeps all, on all devices of a group.
  double layer_per_token(const Instruction& i) const {
    return get("/memory/activation_bytes_per_token") / L() + attended(i);
  }
  bool evaluation() const {
    for (const auto& list : replica_.instructions) {
      for (const Instruction& i : list) {
        if (i.op != Op::kForward) return false;
      }
    }
    return true;
  }

  // A message's bytes stay with its sender from its producer's end until its consumer begins.
  void send_waits(const std::string& message, int p, double end, const Instruction& i) {
    waits_[message] = {p, bytes_of_message(i)};
    note(p, end, waits_[message].second);
  }
  void take_waiting(const std::string& message, double start) {
    note(waits_.at(message).first, start, -waits_.at(message).second);
  }

  std::string input_of(const Instruction& i, int p, const std::string& name) const {
    if (i.op == Op::kForward) return first(p) ? "" : "F" + name + std::to_string(p);
    if (i.op == Op::kWeightGrad) return "";
    return last(p) ? "" : "B" + name + std::to_string(p);
  }

  void send(const std::string& link, const std::string& message, double end, const Instruction& i,
            std::map<std::string, double>& link_free) {
    const double begin = std::max(end, link_free[link]);
    if (layerwise()) send_waits(message, message_from(link), end, i);
    link_free[link] =
        begin + get("/links/p2p/seconds") +
        get("/links/p2p/bytes_per_token") * tokens(i) / ds() / get("/links/p2p/bytes_per_second");
    arrived_[message] = link_free[link];
  }

  // (C+s)^2 - C^2 of tokens [begin, end) that see all before them; those that see the window's
  // `most` tokens alone count 2 most - 1 each.
  double square(double begin, double end) const {
    if (plan_.sliding_window == 0) return end * end - begin * begin;
    const auto most = static_cast<double>(plan_.sliding_window);
    const double some = std::min(begin, most), all = std::min(end, most);
    return all * all - some * some +
           (2.0 * most - 1.0) * (std::max(end, most) - std::max(begin, most));
  }

  // One direction's time of a part on l of L layers, without embedding and head.
  double layers_seconds(const char* direction, const Part& part, double l) const {
    return layers_seconds(direction, part, l, get("/links/all_to_all_bytes_per_token"));
  }
  double layers_seconds(const char* direction, const Part& part, double l, double exchanged) const {
    const Json& d = profile_.at(direction);
    double token2 = 0.0;
    double contexts = 0.0;
    for (const Slice& s : part.slices) {
      const auto c = static_cast<double>(s.begin);
      const auto n = static_cast<double>(s.end - s.begin);
      token2 += square(c, c + n);
      contexts += plan_.sliding_window > 0
                      ? std::min(c, static_cast<double>(plan_.sliding_window) - 1.0)
                      : c;
    }
    const auto slices = static_cast<double>(part.slices.size());
    double time = (token2 * d["seconds_per_token2"].get<double>() +
                   part.tokens() * d["seconds_per_token"].get<double>() +
                   slices * d["seconds_per_slice"].get<double>() +
                   contexts * d.value("seconds_per_context_token", 0.0)) *
                  l / L() / part.devices;
    const bool divided = profile_.value("seconds_per_chunk_divided", false);
    time += d["seconds_per_chunk"].get<double>() * l / L() / (divided ? part.devices : 1.0);
    if (part.devices > 1) {
      const std::string degree = std::to_string(static_cast<int>(part.devices));
      time += exchanged * part.tokens() * (l / L()) / part.devices /
              profile_["links"]["all_to_all"][degree].get<double>();
    }
    return time;
  }

  double compute_seconds(const Instruction& i, int p) const {
    return slowest(i, [&](const Part& part) { return compute_seconds(i.op, part, p); });
  }
  double compute_seconds(Op op, const Part& part, int p) const {
    const bool in_forward = profile_["head"]["in_forward"].get<bool>();
    const double own = part.tokens() / part.devices;
    const double head_forward = last(p) ? get("/head/forward_seconds_per_token") * own : 0;
    const double head_backward = last(p) ? get("/head/backward_seconds_per_token") * own : 0;
    if (op == Op::kForward) {
      double time = layers_seconds("forward", part, l(p)) + head_forward;
      if (first(p)) time += get("/embedding/forward_seconds_per_token") * own;
      if (in_forward) time += head_backward;
      return time / speed(p);
    }
    double whole = layers_seconds("backward", part, l(p));
    if (first(p)) whole += get("/embedding/backward_seconds_per_token") * own;
    if (!in_forward) whole += head_backward;
    const double per_token = profile_.contains("backward_weight")
                                 ? get("/backward_weight/seconds_per_token")
                                 : get("/backward/seconds_per_token") / 2;
    const double weight = per_token * own * l(p) / L();
    if (op == Op::kWeightGrad) return weight / speed(p);
    if (op == Op::kInputGrad) return (whole - weight) / speed(p);
    return whole / speed(p);
  }

  double recompute_seconds(const Instruction& i, int p) const {
    if (i.op == Op::kForward || i.op == Op::kWeightGrad || r(i, p) == 0) return 0.0;
    double time = 0.0;
    for (int layer = 0; layer < r(i, p); ++layer) {
      const char* field = level_of(keeps(i, p, layer)).profile_field;
      const bool known = field != nullptr && profile_.contains(field);
      // All four parts of an exchange are as the bytes of queries, keys, values and output; of K
      // and V the memory says how many there are.
      double exchanged = get("/links/all_to_all_bytes_per_token");
      if (keeps(i, p, layer) == Keep::kMlpInput) exchanged = 0.0;
      if (keeps(i, p, layer) == Keep::kAttention) {
        const double kv = get("/memory/kv_bytes_per_token") * L();
        const double queries = std::max(0.0, (exchanged - kv) / 2.0);
        exchanged = std::min(exchanged, queries + kv);
      }
      time += slowest(i, [&](const Part& part) {
        return layers_seconds(known ? field : "forward", part, l(p), exchanged) / l(p);
      });
    }
    return time / speed(p);
  }

  double cut_tokens(const Instruction& i) const {
    const Slice& s = replica_.chunk(i).slices[0];
    return is_cut(s) ? static_cast<double>(s.tokens()) : 0.0;
  }
  // Whole length of the cut sequence that ends in this chunk, else 0.
  double ending_sequence(const Instruction& i) const {
    const Slice& s = replica_.chunk(i).slices[0];
    const Tokens whole = plan_.sequences[s.sequence.index()];
    return is_cut(s) && s.end == whole ? static_cast<double>(whole) : 0.0;
  }
  double activations(const Instruction& i, int p) const {
    const double layer = layer_per_token(i);
    double bytes = tokens(i) * layer * l(p) / ds() -
                   r(i, p) * (layer - get("/memory/input_bytes_per_token")) * tokens(i) / ds();
    for (int layer_at = 0; layer_at < r(i, p); ++layer_at) {
      bytes += beside_input(i, keeps(i, p, layer_at)) + stored_kv(i, p, layer_at);
    }
    if (last(p)) bytes += get("/memory/head_bytes_per_token") * tokens(i) / ds();
    return bytes;
  }

  void note(int p, double at, double bytes) { changes_[p].emplace_back(at, bytes > 0, bytes); }

  void note_memory(const Instruction& i, int p, double start, double end) {
    const double kv_grad = l(p) * get("/memory/kv_grad_bytes_per_token") / ds();
    if (i.op == Op::kForward) {
      note(p, start, activations(i, p));
      if (evaluation()) {
        const double kv = l(p) * get("/memory/kv_bytes_per_token") / ds();
        note(p, end, -activations(i, p) + kv * cut_tokens(i) - kv * ending_sequence(i));
      }
    }
    if (i.op == Op::kBackward || i.op == Op::kInputGrad) {
      if (ending_sequence(i) > 0) note(p, start, kv_grad * ending_sequence(i));
      if (cut_tokens(i) > 0) note(p, end, -kv_grad * cut_tokens(i));
      if (r(i, p) > 0) {
        const double layer = layer_per_token(i) * tokens(i) / ds();
        note(p, start, layer);
        note(p, end, -layer);
      }
    }
    if (i.op == Op::kBackward || i.op == Op::kWeightGrad) note(p, end, -activations(i, p));
  }

  bool layerwise() const { return profile_["memory"].contains("layerwise"); }
  static int message_from(const std::string& link) {
    return std::stoi(link.substr(link.find_first_of("0123456789")));
  }
  // Bytes of so many tokens of a field of memory or memory.layerwise.
  double bytes(const char* field, double count) const {
    return get((std::string("/memory/") + field).c_str()) * count / ds();
  }
  double layer_bytes(const char* field, double count) const {
    return layer_constant(field) * count / ds();
  }
  double layer_constant(const char* field) const {
    return get((std::string("/memory/layerwise/") + field).c_str());
  }
  double whole_layer(const Instruction& i) const { return layer_per_token(i) * tokens(i) / ds(); }
  // Activations of one layer of the stage from forward to backward, and its K and V kept apart.
  double stored(const Instruction& i, int p, int layer) const {
    if (layer >= r(i, p)) return whole_layer(i);
    return bytes("input_bytes_per_token", tokens(i)) + beside_input(i, keeps(i, p, layer));
  }
  double stored_kv(const Instruction& i, int p, int layer) const {
    if (level_of(keeps(i, p, layer)).keeps_kv) return 0.0;  // among what it keeps anyway
    return bytes("kv_bytes_per_token", cut_tokens(i));
  }
  double head_kept(const Instruction& i, int p) const {
    return last(p) ? bytes("head_bytes_per_token", tokens(i)) : 0.0;
  }

  // The instruction takes `most` at its start, and `left` of it stay at its end.
  void note_instruction(int p, double start, double end, double most, double left) {
    note(p, start, most);
    note(p, end, -(most - std::max(0.0, left)));
    if (left < 0.0) note(p, end, left);
  }

  void note_layer_by_layer(const Instruction& i, int p, double start, double end) {
    if (i.op == Op::kForward) return note_forward(i, p, start, end);
    if (i.op == Op::kWeightGrad) return note(p, end, -pending(i, p));
    note_backward(i, p, start, end);
  }

  double pending(const Instruction& i, int p) const {
    double sum = 0.0;
    for (int layer = r(i, p); layer < l(p); ++layer) {
      sum += layer_bytes("pending_bytes_per_token", tokens(i));
    }
    return sum;
  }

  void note_forward(const Instruction& i, int p, double start, double end) {
    double held = 0.0;
    double most = 0.0;
    for (int layer = 0; layer < l(p); ++layer) {
      most =
          std::max(most, held + whole_layer(i) + layer_bytes("forward_bytes_per_token", tokens(i)));
      held += stored(i, p, layer) + stored_kv(i, p, layer);
    }
    if (last(p)) {
      held += head_kept(i, p);
      const double block = std::min(tokens(i) / ds(), layer_constant("head_block_tokens"));
      most = std::max(most, held + layer_bytes("head_bytes_per_token", tokens(i)) +
                                layer_constant("head_block_bytes_per_token") * block);
    }
    if (evaluation()) {
      held = l(p) * bytes("kv_bytes_per_token", cut_tokens(i) - ending_sequence(i));
    }
    note_instruction(p, start, end, most, held);
  }

  void note_backward(const Instruction& i, int p, double start, double end) {
    const bool closes = ending_sequence(i) > 0.0;
    const double gradient = last(p) ? 0.0 : bytes_of_message(i);
    const double earlier = closes ? ending_sequence(i) - cut_tokens(i) : 0.0;
    const double own = closes ? 0.0 : cut_tokens(i);
    double held = 0.0;  // beyond what was there before
    double most = 0.0;
    for (int layer = static_cast<int>(l(p)) - 1; layer >= 0; --layer) {
      const bool again = layer < r(i, p);
      if (again) {
        held += whole_layer(i) - stored(i, p, layer);
        most = std::max(most, held + gradient + layer_bytes("forward_bytes_per_token", tokens(i)));
        if (!closes) held -= stored_kv(i, p, layer);
      }
      held += bytes("kv_grad_bytes_per_token", earlier) - bytes("kv_grad_bytes_per_token", own);
      most = std::max(most, held + gradient + layer_constant("backward_bytes") +
                                layer_bytes("backward_bytes_per_token", tokens(i)));
      if (again && closes) held -= stored_kv(i, p, layer);
      held -= whole_layer(i);
      if (!again && i.op == Op::kInputGrad) {
        held += layer_bytes("pending_bytes_per_token", tokens(i));
      }
    }
    note_instruction(p, start, end, most, held - head_kept(i, p));
  }
  double bytes_of_message(const Instruction& i) const {
    return get("/links/p2p/bytes_per_token") * tokens(i) / ds();
  }

  double peak(int p) {
    double devices = ds();
    if (profile_["memory"]["state"]["sharded_over"] == "all") {
      devices *= plan_.parallelism.stages * plan_.parallelism.data_parallel;
    } else if (profile_["memory"]["state"]["sharded_over"] == "optimizer") {
      // Each copy of the stage has its part of the optimizer's states, and all of the others.
      const double share = profile_["memory"]["state"].value("optimizer_share", 0.0);
      const double copies = ds() * plan_.parallelism.data_parallel;
      devices = 1.0 / (1.0 - share + share / copies);
    } else if (const auto share = profile_["memory"]["state"].find("optimizer_share");
               share != profile_["memory"]["state"].end()) {
      // A replica holds the d-th part of the optimizer's states.
      const double d = plan_.parallelism.data_parallel;
      devices /= 1.0 - share->template get<double>() * (1.0 - 1.0 / d);
    }
    double now = (l(p) * get("/memory/state/bytes_per_layer") +
                  (first(p) ? get("/memory/state/embedding_bytes") : 0.0) +
                  (last(p) ? get("/memory/state/head_bytes") : 0.0)) /
                     devices +
                 get("/memory/state/constant_bytes") + get("/memory/workspace_bytes");
    double most = now;
    auto& list = changes_[p];
    std::sort(list.begin(), list.end());  // at one instant frees come first
    for (const auto& [at, takes, bytes] : list) {
      now += bytes;
      most = std::max(most, now);
    }
    return most;
  }

  const Plan& plan_;
  const Json& profile_;
  const Replica& replica_;
  std::map<int, int> slices_of_;
  std::map<std::string, double> arrived_;
  std::map<std::string, std::pair<int, double>> waits_;  // sender and bytes, by message
  std::map<int, std::vector<std::tuple<double, bool, double>>> changes_;
};

}  // namespace infinipipe::testing
