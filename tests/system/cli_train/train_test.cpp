// `train`, `eval` and `generate` as a user runs them: what they print, and the one line that they
// refuse with.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>
#include <utility>

#include "infinipipe/base/json.h"
#include "infinipipe/cost/profile.h"
#include "support/file_size_limit.h"
#include "support/tokenizer_json.h"
#include "system/cli_plan/program.h"

namespace infinipipe {
namespace {

using ::testing::HasSubstr;
using ::testing::MatchesRegex;

class TrainCommand : public testing::ProgramTest {
 protected:
  void SetUp() override {
    ProgramTest::SetUp();
    for (int i = 0; i < 12; ++i) {
      std::string text;
      for (int line = 0; line < 2 + 5 * (i % 4); ++line) text += "abc abc " + std::to_string(i);
      write("text/" + std::to_string(i) + ".txt", text);
    }
    ASSERT_EQ(run({"data", "build", "--input", "text", "--out", "set"}).code, 0);
  }
  using Outcome = testing::Outcome;

  // `command` with a small model and data set; later flags win.
  static std::vector<std::string> train(const std::vector<std::string>& more = {}) {
    std::vector<std::string> all = {"train",
                                    "--model.hidden_size",
                                    "32",
                                    "--model.intermediate_size",
                                    "64",
                                    "--model.num_hidden_layers",
                                    "2",
                                    "--model.num_attention_heads",
                                    "2",
                                    "--model.num_key_value_heads",
                                    "2",
                                    "--model.vocab_size",
                                    "257",
                                    "--data.path",
                                    "set",
                                    "--training.steps",
                                    "3",
                                    "--training.sequences_per_step",
                                    "4",
                                    "--parallelism.stages",
                                    "2",
                                    "--checkpoint.path",
                                    "run/checkpoints",
                                    "--metrics.path",
                                    "run/metrics.jsonl",
                                    "--cluster.profile",
                                    "estimate"};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
  std::string read_or_nothing(const std::string& name) const {
    return std::filesystem::exists(path(name)) ? read(name) : std::string();
  }
  void refuse(std::vector<std::string> flags, int code, const std::string& message) const {
    flags.emplace_back("-q");
    expect_error(train(flags), code, message);
  }
};

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = text.find('\n', begin);
    lines.push_back(text.substr(begin, end - begin));
    begin = end == std::string::npos ? text.size() : end + 1;
  }
  return lines;
}

// A step's plan, made at the pace of the steps before it, beside what the step did.
TEST_F(TrainCommand, StepsLieBesideTheirPrediction) {
  ModelSpec model;
  model.vocab_size = 257;
  model.hidden_size = 32;
  model.intermediate_size = 64;
  model.num_hidden_layers = 2;
  model.num_attention_heads = 2;
  model.num_key_value_heads = 2;
  write("profile.json", profile_to_json(estimated_profile(model, Dtype::kFloat32)).dump());
  const Outcome trained =
      run(train({"--training.steps", "8", "--plan-dir", "run/plans", "--trace-dir", "run/traces",
                 "--cluster.profile", "profile.json"}));
  ASSERT_EQ(trained.code, 0) << trained.error;
  EXPECT_THAT(trained.out, HasSubstr("of the run's; training waited"));
  const std::string plan = "run/plans/step-000007.json";
  const Json planned = parse_json(read(plan), "plan");
  EXPECT_TRUE(planned.contains("stage_pace"));
  const Json simulated = parse_json(
      run({"simulate", plan, "--profile", "profile.json", "--json", "-"}).out, "simulation");
  EXPECT_EQ(simulated["profile_hash"], planned["profile_hash"]);
  const Outcome beside = run(
      {"simulate", plan, "--profile", "profile.json", "--measured", "run/traces/step-000007.json"});
  ASSERT_EQ(beside.code, 0) << beside.error;
  EXPECT_THAT(beside.out, HasSubstr("most bytes of"));
  for (const char* purpose : {"weights", "gradients", "optimizer", "activations", "workspace"}) {
    EXPECT_THAT(beside.out, HasSubstr(purpose));
  }
}

TEST_F(TrainCommand, TrainsResumesEvaluatesAndGenerates) {
  const Outcome trained = run(train({"--plan-dir", "run/plans"}));
  ASSERT_EQ(trained.code, 0) << trained.error;
  const std::vector<std::string> lines = lines_of(trained.out);
  int steps = 0;
  for (const std::string& line : lines) {
    if (!line.starts_with("step ")) continue;
    EXPECT_THAT(line, MatchesRegex("step +[0-9]+  loss [0-9.]+  grad [0-9.]+  lr [0-9.e-]+  "
                                   " *[0-9,]+ tok/s  mfu +[0-9]+%  bubble +[0-9.]+%  peak .+/.+  "
                                   "plan .+"));
    ++steps;
  }
  EXPECT_EQ(steps, 3);
  EXPECT_THAT(lines.back(), HasSubstr("trained 3 steps, loss "));
  for (const char* file : {"run/checkpoints/step-000003/model.safetensors", "run/metrics.jsonl",
                           "run/plans/step-000000.json", "run/plans/step-000002.json"}) {
    EXPECT_TRUE(std::filesystem::exists(path(file))) << file;
  }
  EXPECT_EQ(run({"validate", "run/plans/step-000001.json"}).out, "valid\n");

  const Outcome resumed = run(train({"--resume", "--training.steps", "5"}));
  EXPECT_EQ(resumed.code, 0) << resumed.error;
  EXPECT_THAT(resumed.out, HasSubstr("resumed run/checkpoints/step-000003, step 3"));
  EXPECT_THAT(resumed.out, HasSubstr("trained 2 steps"));
  EXPECT_EQ(lines_of(read("run/metrics.jsonl")).size(), 5U);

  EXPECT_THAT(run(train({"--resume", "--training.steps", "5"})).out,
              HasSubstr("nothing to do: 5 steps are done of 5"));

  const Outcome eval = run({"eval", "--checkpoint", "run/checkpoints"});
  EXPECT_EQ(eval.code, 0) << eval.error;
  EXPECT_THAT(eval.out, HasSubstr(" in 12 documents"));
  const Json json =
      parse_json(run({"eval", "--checkpoint", "run/checkpoints", "--data", "set", "--stages", "1",
                      "--json", "-", "--data.max_sequence_length", "5"})
                     .out,
                 "eval");
  EXPECT_EQ(json["targets"], 12 * 4);

  const std::vector<std::string> generate = {
      "generate", "--checkpoint", "run/checkpoints", "--prompt", "abc", "--tokens", "8"};
  const Outcome text = run(generate);
  EXPECT_EQ(text.code, 0) << text.error;
  EXPECT_TRUE(text.out.starts_with("abc")) << text.out;
  EXPECT_TRUE(text.out.ends_with("\n")) << text.out;
  EXPECT_EQ(run(generate).out, text.out);
}

TEST_F(TrainCommand, QuietSaysNothing) {
  const Outcome outcome = run(train({"-q"}));
  EXPECT_EQ(outcome.code, 0);
  EXPECT_EQ(outcome.out + outcome.error, "");
}

// A run in the background, whose output this test follows.
class Background final {
 public:
  Background(const std::string& folder, const std::vector<std::string>& flags, bool pipe = false)
      : folder_(folder) {
    if (pipe) {
      EXPECT_EQ(::pipe2(pipe_, O_CLOEXEC), 0);
    }
    process_ = ::fork();
    if (process_ != 0) {
      if (pipe) ::close(pipe_[1]);
      return;
    }
    if (::chdir(folder.c_str()) != 0) ::_exit(126);
    const int out = pipe ? pipe_[1] : ::open("out", O_WRONLY | O_CREAT | O_TRUNC, 0644);
    const int error = ::open("err", O_WRONLY | O_CREAT | O_TRUNC, 0644);
    ::dup2(out, STDOUT_FILENO);
    ::dup2(error, STDERR_FILENO);
    std::vector<char*> arguments = {const_cast<char*>(INFINIPIPE_BINARY)};
    for (const std::string& flag : flags) arguments.push_back(const_cast<char*>(flag.c_str()));
    arguments.push_back(nullptr);
    ::execv(INFINIPIPE_BINARY, arguments.data());
    ::_exit(127);
  }
  ~Background() {
    if (process_ <= 0) return;
    ::kill(process_, SIGKILL);
    ::waitpid(process_, nullptr, 0);
  }
  Background(const Background&) = delete;
  Background& operator=(const Background&) = delete;

  // Until so many steps are in the metrics; false where the process ended before.
  bool wait_for_steps(std::size_t steps) const {
    while (true) {
      std::error_code absent;
      const std::string path = folder_ + "/run/metrics.jsonl";
      if (std::filesystem::exists(path, absent)) {
        const std::string text = read_file(path);
        if (static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n')) >= steps)
          return true;
      }
      if (ended()) return false;
      ::usleep(10'000);
    }
  }
  // Until it has worked for so long from now on.
  void wait_for_work(double seconds) const {
    const double start = processor_seconds();
    while (!ended() && processor_seconds() < start + seconds) ::usleep(10'000);
  }
  // Until the text has come; what follows it may have come too.
  void read_until(const std::string& wanted) const {
    std::string all;
    std::array<char, 4096> some{};
    while (all.find(wanted) == std::string::npos) {
      const ssize_t got = ::read(pipe_[0], some.data(), some.size());
      ASSERT_GT(got, 0) << all;
      all.append(some.data(), static_cast<std::size_t>(got));
    }
  }
  void close_pipe() const { ::close(pipe_[0]); }
  void signal(int number) const { ::kill(process_, number); }
  // The exit code, or minus the signal that ended it.
  int wait() {
    int status = 0;
    ::waitpid(std::exchange(process_, 0), &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }

 private:
  bool ended() const {
    siginfo_t info{};
    ::waitid(P_PID, static_cast<id_t>(process_), &info, WEXITED | WNOHANG | WNOWAIT);
    return info.si_pid != 0;
  }
  double processor_seconds() const {
    const std::string text = read_file("/proc/" + std::to_string(process_) + "/stat");
    std::istringstream fields(text.substr(text.rfind(')') + 1));
    std::string skipped;
    for (int i = 0; i < 11; ++i) fields >> skipped;
    double ticks = 0.0;
    fields >> ticks;  // of user code
    return ticks / static_cast<double>(::sysconf(_SC_CLK_TCK));
  }

  std::string folder_;
  pid_t process_ = 0;
  int pipe_[2] = {-1, -1};
};

// What clusters, terminals and shells send.
TEST_F(TrainCommand, EachStopSignalEndsWithACheckpoint) {
  for (const int number : {SIGTERM, SIGINT, SIGHUP, SIGUSR1}) {
    SCOPED_TRACE(number);
    Background run(folder_.string(), train({"--training.steps", "1000000", "--overwrite",
                                            "--stopped-exit-code", number == SIGHUP ? "75" : "0"}));
    ASSERT_TRUE(run.wait_for_steps(2)) << read("err");
    run.signal(number);
    EXPECT_EQ(run.wait(), number == SIGHUP ? 75 : 0) << read("err");
    EXPECT_THAT(read("out"), HasSubstr(" of 1000000, by request"));
    EXPECT_THAT(read("err"), HasSubstr("stopping after this step"));
    const std::size_t steps = lines_of(read("run/metrics.jsonl")).size();
    const std::string latest = read("run/checkpoints/latest");
    EXPECT_EQ(std::stoul(latest.substr(5)), steps);
    std::filesystem::remove_all(path("run"));
  }
}

TEST_F(TrainCommand, TwoSignalsEndAtOnceWhicheverTheyAre) {
  // A long step: the first signal cannot have ended it.
  std::string text;
  for (int i = 0; i < 8000; ++i) text += "abc abc ";
  write("long/1.txt", text);
  ASSERT_EQ(run({"data", "build", "--input", "long", "--out", "set"}).code, 0);
  Background run(folder_.string(),
                 train({"--data.max_sequence_length", "64000", "--training.sequences_per_step", "1",
                        "--model.hidden_size", "128"}));
  while (lines_of(read_or_nothing("out")).size() < 3) ::usleep(10'000);
  run.wait_for_work(1.0);  // planning is over long before
  run.signal(SIGTERM);
  while (read_or_nothing("err").find("stopping") == std::string::npos) ::usleep(10'000);
  run.signal(SIGINT);
  EXPECT_EQ(run.wait(), -SIGINT);
}

// `infinipipe train | head`: the checkpoint that SIGTERM would have left.
TEST_F(TrainCommand, AClosedPipeEndsWithACheckpoint) {
  Background run(folder_.string(), train({"--training.steps", "1000000"}), /*pipe=*/true);
  run.read_until("step    0");  // closed earlier, it would end before anything is trained
  run.close_pipe();
  EXPECT_EQ(run.wait(), 0) << read("err");
  EXPECT_THAT(read("err"), HasSubstr("warning: stdout was closed: stopping after this step"));
  EXPECT_TRUE(std::filesystem::exists(path("run/checkpoints/latest")));
}

TEST_F(TrainCommand, AFullDiskForItsOutputDoesNotEndARun) {
  std::string command = "cd '" + folder_.string() + "' && '" INFINIPIPE_BINARY "'";
  for (const std::string& flag : train()) command += " '" + flag + "'";
  const int status = std::system((command + " >/dev/full 2>err").c_str());
  EXPECT_EQ(WIFEXITED(status) ? WEXITSTATUS(status) : -1, 0) << read("err");
  EXPECT_THAT(read("err"), HasSubstr("warning: stdout: cannot be written: No space left"));
  EXPECT_TRUE(std::filesystem::exists(path("run/checkpoints/step-000003/manifest.json")));
}

TEST_F(TrainCommand, TheSecondOfTwoStartsIsRefused) {
  Background first(folder_.string(), train({"--training.steps", "1000000"}));
  ASSERT_TRUE(first.wait_for_steps(1)) << read("err");
  for (const char* how : {"--resume", "--overwrite"}) {
    expect_error(train({how}), 2,
                 "config: checkpoint.path: found run/checkpoints in use by process");
  }
  first.signal(SIGTERM);
  EXPECT_EQ(first.wait(), 0) << read("err");
  EXPECT_EQ(run(train({"--overwrite"})).code, 0);
}

TEST_F(TrainCommand, QuietHidesNoWarning) {
  const Outcome outcome = run(train(
      {"-q", "--optimizer.lr", "1e30", "--optimizer.warmup_steps", "0", "--training.steps", "9"}));
  EXPECT_EQ(outcome.code, 1);
  EXPECT_EQ(outcome.out, "");
  EXPECT_THAT(outcome.error, HasSubstr("warning: step 1 was skipped: its "));
  EXPECT_THAT(outcome.error, HasSubstr("\nerror: step 5: 5 steps in a row were skipped"));

  ASSERT_EQ(run(train({"--overwrite", "--checkpoint.every", "1"})).code, 0);
  std::string damaged = read("run/checkpoints/step-000003/model.safetensors");
  damaged.resize(damaged.size() / 2);
  write("run/checkpoints/step-000003/model.safetensors", damaged);
  for (const std::vector<std::string>& command :
       {std::vector<std::string>{"eval", "-q", "--checkpoint", "run/checkpoints"},
        {"generate", "-q", "--checkpoint", "run/checkpoints", "--tokens", "1"},
        train({"-q", "--resume"})}) {
    const Outcome fallen = run(command);
    EXPECT_EQ(fallen.code, 0) << fallen.error;
    EXPECT_THAT(fallen.error, HasSubstr("warning: passed over run/checkpoints/step-000003"));
  }
}

TEST_F(TrainCommand, BadInputIsOneLine) {
  refuse({"--data.path", "none"}, 2, "none.idx: cannot be opened: No such file");
  refuse({"--data.path", ""}, 2, "config: data.path: found nothing");
  refuse(
      {"--parallelism.stages", "3"}, 2,
      "command line: parallelism.stages: found 3 stages for 2 layers, expected at most one stage");
  refuse({"--planner.slices", "0"}, 2,
         "command line: planner.slices: found 0, expected at least 1");
  refuse({"--planner.name", "nonsense"}, 2, "unknown planner 'nonsense'");
  refuse({"--cluster.profile", "none.json"}, 2, "none.json: cannot be opened");
  refuse({"--model.vocab_size", "100"}, 2,
         "expected 0 to 99; build the data with the model's tokenizer, or set model.vocab_size");
  refuse({"--training.stepz", "3"}, 2, "did you mean --training.steps?");
  refuse({"--runtime.communicator", "nccl"}, 2, "runtime.communicator: found nccl");
  refuse({"--parallelism.sequence_parallel", "64"}, 2,
         "parallelism.sequence_parallel: 64 devices cannot share");
  refuse({"--memory.bytes_per_stage", "1000"}, 1, "needs");
  write("config.toml", "[training]\nstepz = 1\n");
  refuse({"--config", "config.toml"}, 2,
         "config.toml: training.stepz: unknown key, did you mean training.steps?");

  const std::string tokens = read("set.bin");
  write("set.bin", tokens.substr(0, tokens.size() - 2));
  refuse({}, 2,
         "expected at most the " + std::to_string(tokens.size() - 2) +
             " bytes of set.bin; it is cut short; rebuild the dataset");
  write("set.bin", tokens);
  std::string index = read("set.idx");
  index[0] = 'X';
  write("set.idx", index);
  refuse({}, 2, "set.idx: does not start with MMIDIDX");
}

TEST_F(TrainCommand, BadCheckpointsAreOneLine) {
  ASSERT_EQ(run(train()).code, 0);
  refuse({"--resume", "--model.hidden_size", "64"}, 2,
         "config: model.hidden_size: found 64, expected 32 as in");
  refuse({"--resume", "--training.seed", "4"}, 2, "training.seed: found 4, expected 1 as in");
  const std::vector<std::string> eval = {"eval", "--checkpoint", "run/checkpoints"};
  const auto refuse_eval = [&](std::vector<std::string> more, const std::string& message) {
    std::vector<std::string> all = eval;
    all.insert(all.end(), more.begin(), more.end());
    expect_error(all, 2, message);
  };
  refuse_eval({"--model.intermediate_size", "96"},
              "found shape [64, 32], expected [96, 32]; load it into the model it was saved from");
  refuse_eval({"--data", "none"}, "none.idx: cannot be opened");
  refuse_eval({"--stages", "3"}, "found 3 stages for 2 layers");
  expect_error({"eval", "--checkpoint", "none"}, 2, "none: no checkpoint folder");
  expect_error({"generate", "--checkpoint", "text"}, 2, "text: no checkpoint that is whole");
  expect_error({"generate"}, 2, "--checkpoint: found nothing");
  expect_error({"generate", "--checkpoint", "run/checkpoints", "--top-p", "2"}, 2,
               "--top-p: found '2'");
  expect_error({"generate", "--checkpoint", "run/checkpoints", "--runtime.communicator", "mpi"}, 2,
               "runtime.communicator: found 'mpi'");

  const std::string file = "run/checkpoints/step-000003/model.safetensors";
  std::string bytes = read(file);
  bytes[bytes.size() - 3] ^= 1;
  write(file, bytes);
  expect_error({"generate", "--checkpoint", "run/checkpoints"}, 2,
               "model.safetensors: checksum is ");
  write(file, bytes.substr(0, 100));
  refuse({"--resume"}, 2, "no checkpoint that is whole");
  write("run/checkpoints/step-000003/manifest.json", "{");
  refuse({"--resume"}, 2, "manifest.json: not JSON");
}

TEST_F(TrainCommand, AFullDiskFailsTheRun) {
  const FileSizeLimit limit(60'000);  // the metrics fit, a checkpoint does not
  refuse({}, 1, "model.safetensors: cannot be written: File too large; check the disk");
  EXPECT_FALSE(std::filesystem::exists(path("run/checkpoints/latest")));
  EXPECT_FALSE(std::filesystem::exists(path("run/checkpoints/step-000003")));
}

// Documents of "<|u|>q<|a|>answer<|e|>" and the like, with loss on the answer and its end alone.
TEST_F(TrainCommand, ConversationsTrainOnTheAssistantsTurnsAlone) {
  write("model/tokenizer.json", ascii_tokenizer({"<|u|>", "<|a|>", "<|e|>"}).dump());
  write("model/chat_template.jinja",
        "{% for m in messages %}<|{{ m.role[0] }}|>{{ m.content }}{% if m.role == \"assistant\" %}"
        "<|e|>{% endif %}{% endfor %}");
  std::string rows;
  for (int i = 0; i < 8; ++i) {
    rows +=
        R"({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": ")" +
        std::string(static_cast<std::size_t>(i), 'x') + "\"}]}\n";
  }
  write("rows.jsonl", rows);
  const Outcome build =
      run({"data", "build", "--input", "rows.jsonl", "--tokenizer", "model", "--out", "chat"});
  ASSERT_EQ(build.code, 0) << build.error;
  // The template has no beginning of an answer, so that <|a|> is of the turn: <|a|>, i times x,
  // <|e|>.
  const int targets = 8 * 2 + 28;
  EXPECT_THAT(build.out, HasSubstr("chat.weights: 8 documents"));
  EXPECT_THAT(build.out, HasSubstr(std::to_string(targets) + " tokens have loss"));
  EXPECT_THAT(run({"data", "stats", "chat"}).out,
              HasSubstr("on " + std::to_string(targets) + " tokens"));

  const Outcome trained = run(train(
      {"--data.path", "chat", "--training.sequences_per_step", "8", "--training.steps", "2"}));
  ASSERT_EQ(trained.code, 0) << trained.error;
  for (const std::string& line : lines_of(read("run/metrics.jsonl"))) {
    EXPECT_EQ(parse_json(line, "metrics")["targets"], targets);
  }
  const Json eval =
      parse_json(run({"eval", "--checkpoint", "run/checkpoints", "--json", "-"}).out, "eval");
  EXPECT_EQ(eval["targets"], targets);
  // The same tokens with other weights are other data.
  std::filesystem::remove(path("chat.weights"));
  const Outcome resumed = run(train({"--data.path", "chat", "--training.sequences_per_step", "8",
                                     "--training.steps", "3", "--resume"}));
  EXPECT_EQ(resumed.code, 0) << resumed.error;
  EXPECT_THAT(resumed.error, HasSubstr("chat is another data set than chat"));
}

}  // namespace
}  // namespace infinipipe
