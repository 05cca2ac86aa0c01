// Rows with a prompt and a completion, or with messages: tokens and loss weights.
#include <nlohmann/json.hpp>

#include "build_testing.h"
#include "infinipipe/base/json.h"
#include "support/tokenizer_json.h"

namespace infinipipe {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr const char* kChatML =
    "{% for m in messages %}{{ '<|' + m.role + '|>' + m.content + '<|end|>' }}\n{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}";
constexpr const char* kMarked =
    "{{ bos_token }}{% for m in messages %}<|{{ m.role }}|>{% if m.role == 'assistant' %}"
    "{% generation %}{{ m.content }}<|end|>{% endgeneration %}{% else %}{{ m.content }}"
    "{% endif %}{% endfor %}";

class InstructionsTest : public BuildTest {
 protected:
  void SetUp() override {
    BuildTest::SetUp();
    options_.threads = 1;  // a worker of each kind is enough
    put("model/tokenizer.json", ascii_tokenizer({"<|user|>", "<|assistant|>", "<|end|>"}).dump());
  }
  BuildResult build(const std::string& rows) {
    put("text/a.jsonl", rows);
    return build_dataset(options_);
  }
  BuildResult build_chat(const std::string& chat_template, const std::string& rows) {
    put("model/tokenizer_config.json",
        Json{{"chat_template", chat_template}, {"bos_token", "<|end|>"}, {"eos_token", "<|end|>"}}
            .dump());
    options_.tokenizer = in("model");
    return build(rows);
  }
  // Documents with what has loss in upper case; special tokens as one letter.
  std::vector<std::string> shown() const {
    const IndexedDataset data(options_.output);
    const bool bytes = options_.tokenizer == "byte";
    std::vector<std::string> texts;
    for (std::int64_t i = 0; i < data.documents(); ++i) {
      const auto ids = data.read(i);
      const auto weights = data.weights(i);
      std::string& text = texts.emplace_back();
      for (std::size_t j = 0; j < ids.size(); ++j) {
        const std::int64_t id = ids[j];
        char c = static_cast<char>(bytes ? id : id + '!');
        if (!bytes && id >= 94) c = " nuae"[id - 94];
        if (bytes && id == 256) c = 'e';
        text += static_cast<char>(weights.empty() || weights[j] > 0.0F ? std::toupper(c) : c);
      }
    }
    return texts;
  }

  static constexpr const char* kRow =
      R"({"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yo"}]})";
};

TEST_F(InstructionsTest, LossIsOnTheCompletionAndTheEnd) {
  const BuildResult result = build(R"({"prompt": "ab\n", "completion": "cd"}
{"text": "xy", "prompt": "is not", "completion": "looked at"}
{"text": null, "prompt": "", "completion": "f"}
{"prompt": "g", "completion": ""}
)");
  EXPECT_THAT(shown(), ElementsAre("ab\nCDE", "XYE", "FE", "gE"));
  EXPECT_TRUE(result.has_weights);
  EXPECT_EQ(result.loss_tokens, 3 + 2 + 1 + 1);
  EXPECT_EQ(result.documents_without_loss, 0);
  EXPECT_EQ(result.joined_boundaries, 0);
  EXPECT_TRUE(std::filesystem::exists(options_.output + ".weights"));
  build(R"({"text": "xy"})");
  EXPECT_FALSE(std::filesystem::exists(options_.output + ".weights"));
}

TEST_F(InstructionsTest, RowsOfNoKindAreNamed) {
  EXPECT_THAT(error_of([&] { build(R"({"prompt": "a"})"); }),
              AllOf(HasSubstr("a.jsonl:1: text"), HasSubstr("found nothing")));
  EXPECT_THAT(error_of([&] { build(R"({"prompt": "a", "completion": [{}]})"); }),
              HasSubstr("expected two strings, or two lists of messages"));
  EXPECT_THAT(error_of([&] { build(kRow); }),
              AllOf(HasSubstr("a.jsonl:1"), HasSubstr("byte has no chat template")));
}

TEST_F(InstructionsTest, TheWholeTextIsEncodedAndTheBoundaryIsThePromptsOwn) {
  put("model/tokenizer.json",
      tokenizer_json({{"a", 0}, {"b", 1}, {"ab", 2}, {"c", 3}},
                     Json::array({Json::array({"a", "b"})}), {"<s>", "</s>"}, "<s>")
          .dump());
  options_.tokenizer = in("model");
  EXPECT_EQ(build(R"({"prompt": "ca", "completion": "bc"})"
                  "\n"
                  R"({"prompt": "c", "completion": "abc"})")
                .joined_boundaries,
            1);
  const IndexedDataset data(options_.output);
  EXPECT_THAT(data.read(0), ElementsAre(4, 3, 2, 3, 5));  // <s> c ab c </s>
  EXPECT_THAT(data.weights(0), ElementsAre(0, 0, 0, 1, 1));
  EXPECT_THAT(data.read(1), ElementsAre(4, 3, 2, 3, 5));
  EXPECT_THAT(data.weights(1), ElementsAre(0, 0, 1, 1, 1));
}

TEST_F(InstructionsTest, TheAssistantsTurnsAreFoundByPrefixes) {
  const std::string rows = std::string(kRow) + "\n" +
                           R"({"messages": [{"role": "user", "content": "a", "name": null},
 {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"},
 {"role": "assistant", "content": "d<|end|>"}]})";
  std::string one_a_line = rows;
  std::replace(one_a_line.begin() + static_cast<std::ptrdiff_t>(std::string(kRow).size()) + 1,
               one_a_line.end(), '\n', ' ');
  build_chat(kChatML, one_a_line);
  // u, a and e are special tokens; what looks like one in a message is one; n is a line break.
  EXPECT_THAT(shown(), ElementsAre("uhienaYOEN", "uaenaBENucenaDEEN"));
}

TEST_F(InstructionsTest, TheAssistantsTurnsAreWhatTheTemplateMarks) {
  put("model/chat_template.jinja", kMarked);  // it comes before tokenizer_config.json's
  const BuildResult result =
      build_chat("not this one",
                 std::string(kRow) + "\n" + R"({"messages": [{"role": "user", "content": "hi"}]})");
  EXPECT_THAT(shown(), ElementsAre("euhiaYOE", "euhi"));
  EXPECT_EQ(result.documents_without_loss, 1);
}

TEST_F(InstructionsTest, PromptAndCompletionMayBeMessages) {
  build_chat(kChatML, R"({"prompt": [{"role": "user", "content": "hi"}], )"
                      R"("completion": [{"role": "assistant", "content": "yo"}]})");
  EXPECT_THAT(shown(), ElementsAre("uhienaYOEN"));
}

TEST_F(InstructionsTest, TemplatesHaveWhatTransformersGivesThem) {
  build_chat(
      "{% for m in messages %}{% if loop.index == 2 %}{% break %}{% endif %}"
      "{{ {'k': m.content, 'x': '<'} | tojson }}{{ tools[0].name }}{{ flag }}{% endfor %}",
      R"({"messages": [{"role": "user", "content": "hi"}, {"role": "user", "content": "no"}],)"
      R"( "tools": "[{\"name\": \"f\"}]", "chat_template_kwargs": {"flag": true}})");
  EXPECT_THAT(shown(), ElementsAre(R"({"k": "hi", "x": "<"}fTrue)"));
}

TEST_F(InstructionsTest, RowsThatATemplateRefusesAreNamedOrLeftOut) {
  const std::string rows = R"({"messages": [{"role": "user", "content": "bad"}]})"
                           "\n"
                           R"({"messages": [{"role": "user", "content": "good"}]})";
  const char* const refusing =
      "{% if messages[0].content == 'bad' %}{{ raise_exception('no') }}{% endif %}x";
  EXPECT_THAT(error_of([&] { build_chat(refusing, rows); }),
              AllOf(HasSubstr("a.jsonl:1: chat template"), HasSubstr("TemplateError: no")));
  options_.on_bad_line = OnBadLine::kSkip;
  EXPECT_EQ(build_chat(refusing, rows).bad_lines, 1);
  EXPECT_THAT(shown(), ElementsAre("x"));
}

}  // namespace
}  // namespace infinipipe
