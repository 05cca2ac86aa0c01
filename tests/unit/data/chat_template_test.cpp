#include "data/chat_template.h"

#include "test_support.h"

namespace infinipipe {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr const char* kRequest =
    R"({"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yo"}]})";

class ChatTemplateTest : public FolderTest {
 protected:
  std::string render(const std::string& text, const std::string& request = kRequest) const {
    put("chat_template.jinja", text);
    return ChatTemplate(folder_).render(request, "a.jsonl:7");
  }
  std::string refusal(const std::string& text, const std::string& request = kRequest) const {
    return error_of([&] { render(text, request); });
  }
};

TEST_F(ChatTemplateTest, WhatATemplateRefusesIsOneLine) {
  EXPECT_EQ(render("{{ messages[0].content }}{% generation %}x{% endgeneration %}"),
            R"({"text": "hix", "spans": [[2, 3]]})");
  EXPECT_THAT(refusal("{{ raise_exception('roles\\nmust alternate') }}"),
              AllOf(HasSubstr("a.jsonl:7: chat template"), HasSubstr("chat_template.jinja"),
                    HasSubstr("roles must alternate")));
  EXPECT_THAT(refusal("{% for %}"), HasSubstr("TemplateSyntaxError"));
  EXPECT_THAT(refusal("{{ messages[-1].content }}"), HasSubstr("use a template with {% generation"))
      << "earlier turns lose their text";
  EXPECT_THAT(refusal("x", R"({"messages": []})"), HasSubstr("is an empty list"));
  EXPECT_THAT(refusal("x", R"({"messages": [7]})"), HasSubstr("no object"));
  EXPECT_THAT(error_of([&] { ChatTemplate(in("none")).render(kRequest, "row"); }),
              HasSubstr("holds no chat template"));
}

TEST_F(ChatTemplateTest, HostileOnesAreOneLine) {
  EXPECT_THAT(refusal("{{ messages.__class__.__mro__ }}"), HasSubstr("SecurityError"));
  EXPECT_THAT(refusal("{{ namespace(_x=1) }}"), HasSubstr("SecurityError"));
  EXPECT_THAT(refusal("{{ 'a' * 4000000000 }}"), HasSubstr("MiB of memory"));
  EXPECT_THAT(refusal("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}"),
              HasSubstr("calls itself too deeply"));
  EXPECT_THAT(refusal("{% include '/etc/passwd' %}"), HasSubstr("no loader"));
}

TEST_F(ChatTemplateTest, WhatDoesNotEndIsEndedAndTheNextIsRendered) {
  // 100,000 is the longest range of the sandbox; the power would be worked out by the compiler.
  put("chat_template.jinja",
      "{% if messages[0].content == 'hi' %}{% for a in range(99999) %}{% for b in range(99999) %}"
      "{% endfor %}{% endfor %}{% endif %}x");
  ChatTemplate chat(folder_, std::chrono::milliseconds(2000));
  EXPECT_THAT(
      error_of([&] { chat.render(kRequest, "a.jsonl:7"); }),
      AllOf(HasSubstr("a.jsonl:7: chat template"), HasSubstr("did not end within 2000 ms")));
  EXPECT_EQ(chat.render(R"({"messages": [{"role": "user", "content": "good"}]})", "row"),
            R"({"text": "x", "spans": []})");
  put("chat_template.jinja", "{{ 9 ** (9 ** 9) }}");
  ChatTemplate power(folder_, std::chrono::milliseconds(500));
  EXPECT_THAT(error_of([&] { power.render(kRequest, "row"); }),
              HasSubstr("did not end within 500 ms"));
}

TEST_F(ChatTemplateTest, WithoutJinjaItSaysWhatToInstall) {
  put("python", "#!/bin/sh\nexec /usr/bin/python3 -S \"$@\"\n");  // no packages
  std::filesystem::permissions(in("python"), std::filesystem::perms::owner_all);
  ::setenv("INFINIPIPE_PYTHON", in("python").c_str(), 1);
  put("chat_template.jinja", "x");
  const std::string missing =
      error_of<RunError>([&] { ChatTemplate(folder_).render(kRequest, "row"); });
  ::unsetenv("INFINIPIPE_PYTHON");
  EXPECT_THAT(missing, AllOf(HasSubstr("the Python package jinja2 is missing from"),
                             HasSubstr("pip install jinja2==")));
}

}  // namespace
}  // namespace infinipipe
