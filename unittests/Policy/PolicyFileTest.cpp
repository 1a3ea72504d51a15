//===-- PolicyFileTest.cpp - Policy files, inline rules, and what they resolve to ---------------------------------===//
#include "lib/Policy/PolicyFile.h"
#include "lib/Policy/LayerPolicy.h"

#include "mlir/IR/MLIRContext.h"
#include "llvm/Support/raw_ostream.h"

#include <gtest/gtest.h>
#include <random>

using namespace mlir;
using namespace sparse;
using namespace sparse::policy;
using sparse::sparsity::LayerFacts;
using sparse::sparsity::PolicyKind;

namespace {

class PolicyTest : public ::testing::Test {
protected:
  PolicyTest()
      : context(MLIRContext::Threading::DISABLED), handler(&context, [this](Diagnostic &diagnostic) {
          llvm::raw_string_ostream os(errors);
          os << diagnostic.getLocation() << ": " << diagnostic << '\n';
          return success();
        }) {
    context.loadDialect<sparsity::SparsityDialect>();
  }

  /// A token has 128 bytes in each KV head.
  SmallVector<LayerFacts> factsOf(int64_t layers, int64_t kvHeads) {
    SmallVector<LayerFacts> facts(layers);
    for (int64_t layer = 0; layer < layers; ++layer) {
      facts[layer].layer = layer;
      facts[layer].kvHeads = kvHeads;
      facts[layer].keyDim = facts[layer].valueDim = 16;
      facts[layer].maxContext = 1000;
      facts[layer].type = Float32Type::get(&context);
    }
    return facts;
  }

  /// The policy as applied to a model, as text; the diagnostics when it can't be.
  std::string apply(ArrayRef<Rule> rules, int64_t layers = 4, int64_t kvHeads = 3) {
    std::vector<LayerPolicy> policies(layers);
    if (failed(applyRules(rules, factsOf(layers, kvHeads), policies)))
      return errors;
    return formatPolicy(policies);
  }
  std::string applyText(StringRef text, int64_t layers = 4, int64_t kvHeads = 3) {
    errors.clear();
    std::optional<Rules> rules = parsePolicy(text, "p.yaml", &context);
    return rules ? apply(*rules, layers, kvHeads) : errors;
  }
  std::string applyInline(PolicyKind kind, StringRef text) {
    errors.clear();
    std::optional<Rule> rule = parseInlineRule(kind, text, &context);
    return rule ? apply(*rule) : errors;
  }

  MLIRContext context;
  std::string errors;
  ScopedDiagnosticHandler handler;
};

TEST_F(PolicyTest, NothingIsDense) {
  EXPECT_EQ(applyText("version: 1\n"), "");
  EXPECT_EQ(applyText("{version: 1, rules: }"), "");
  EXPECT_EQ(applyText("{version: 1, rules: []}"), "");
  // An empty file says nothing at all, not even its version.
  EXPECT_NE(applyText("").find("the policy is no mapping"), std::string::npos);
}

TEST_F(PolicyTest, DefaultsAreWrittenOut) {
  EXPECT_EQ(applyText("{version: 1, rules: [{attention: {page_topk: }, kv: {h2o: {}}}]}"),
            "version: 1\n"
            "rules:\n"
            "  - layers: all\n"
            "    attention: {page_topk: {page: 16, budget: 2048, over: 0, least: 0, group: max, per_query_head: false, sinks: 0}}\n"
            "    kv: {h2o: {heavy: 512, recent: 512, over: 0, least: 0, heads: [], prefill: dense}}\n");
}

TEST_F(PolicyTest, LaterRulesWinPerLayerAndKey) {
  EXPECT_EQ(applyText("version: 1\n"
                      "rules:\n"
                      "- {layers: all, kv: {h2o: {heavy: 1, recent: 1}}}\n"
                      "- {layers: 1-2, kv: {streaming: {sinks: 1, window: 2}}, attention: {page_topk: {}}}\n"
                      "- {layers: '0,2', attention: {page_topk: {page: 4, budget: 8}}}\n"
                      "- {layers: 2-, kv: {dense: {}}}\n"),
            "version: 1\n"
            "rules:\n"
            "  - layers: 0\n"
            "    attention: {page_topk: {page: 4, budget: 8, over: 0, least: 0, group: max, per_query_head: false, sinks: 0}}\n"
            "    kv: {h2o: {heavy: 1, recent: 1, over: 0, least: 0, heads: [], prefill: dense}}\n"
            "  - layers: 1\n"
            "    attention: {page_topk: {page: 16, budget: 2048, over: 0, least: 0, group: max, per_query_head: false, sinks: 0}}\n"
            "    kv: {streaming: {sinks: 1, window: 2, heads: []}}\n"
            "  - layers: 2\n"
            "    attention: {page_topk: {page: 4, budget: 8, over: 0, least: 0, group: max, per_query_head: false, sinks: 0}}\n");
}

TEST_F(PolicyTest, AlikeLayersAreOneRule) {
  EXPECT_EQ(applyText("{version: 1, rules: [{layers: [0, 2-], kv: {streaming: {}}}]}", 6),
            "version: 1\nrules:\n  - layers: 0,2-5\n    kv: {streaming: {sinks: 4, window: 512, heads: []}}\n");
}

TEST_F(PolicyTest, HeadsAreARangeOfTheModel) {
  auto heads = [&](StringRef range) {
    std::string text = applyText(("{version: 1, rules: [{layers: 0, kv: {streaming: {heads: " + range + "}}}]}").str());
    return text.substr(text.find("heads"));
  };
  EXPECT_EQ(heads("1-"), "heads: [1, 2]}}\n");
  EXPECT_EQ(heads("[0, 2]"), "heads: [0, 2]}}\n");
  EXPECT_EQ(heads("[2, 0, 2]"), "heads: [0, 2]}}\n");
  EXPECT_EQ(heads("'0,2'"), "heads: [0, 2]}}\n");
  // Every head, in any spelling, is one policy.
  for (StringRef every : {"all", "[]", "0-2", "0-"})
    EXPECT_EQ(heads(every), "heads: []}}\n");
  EXPECT_EQ(applyText("{version: 1, rules: [{heads: 0, layers: 0, kv: {streaming: {}}}]}"),
            applyText("{version: 1, rules: [{layers: 0, kv: {streaming: {heads: [0]}}}]}"));
}

TEST_F(PolicyTest, SeveralKVMethodsByHeads) {
  EXPECT_EQ(applyText("{version: 1, rules: [{kv: {streaming: {heads: 0}, h2o: {heads: 1-}}}]}", 1),
            "version: 1\nrules:\n  - layers: all\n    kv: {streaming: {sinks: 4, window: 512, heads: [0]}, "
            "h2o: {heavy: 512, recent: 512, over: 0, least: 0, heads: [1, 2], prefill: dense}}\n");
}

TEST_F(PolicyTest, AListNamesAMethodSeveralTimes) {
  EXPECT_EQ(applyText("{version: 1, rules: [{kv: [{h2o: {heads: 0}}, {h2o: {heavy: 8, heads: 2}, streaming: {heads: 1}}]}]}",
                      1),
            "version: 1\nrules:\n  - layers: all\n    kv: [{h2o: {heavy: 512, recent: 512, over: 0, least: 0, heads: [0], prefill: dense}}, "
            "{h2o: {heavy: 8, recent: 512, over: 0, least: 0, heads: [2], prefill: dense}}, {streaming: {sinks: 4, window: 512, heads: [1]}}]\n");
  EXPECT_EQ(applyText("{version: 1, rules: [{kv: [{h2o: {}}]}]}"), applyText("{version: 1, rules: [{kv: {h2o: {}}}]}"));
  EXPECT_EQ(applyText("{version: 1, rules: [{kv: [{h2o: {}}, 3]}]}"),
            "loc(\"p.yaml\":1:39): an item of 'kv' is no mapping; legal: {method: {parameter: value}}\n");
  EXPECT_EQ(applyText("{version: 1, rules: [{kv: []}]}"),
            "loc(\"p.yaml\":1:28): 'kv' names no method; legal: 'cam', 'd2o', 'h2o', 'quantize', 'streaming', 'dense'\n");
}

TEST_F(PolicyTest, BudgetsAreTokensOfALayer) {
  auto heavy = [&](StringRef budget, StringRef heads = "all") {
    std::string text = applyText(
        ("{version: 1, rules: [{layers: 0, kv: {h2o: {heavy: " + budget + ", heads: " + heads + "}}}]}").str());
    StringRef rest = StringRef(text).split("heavy: ").second;
    return rest.empty() ? text : rest.split(',').first.str();
  };
  EXPECT_EQ(heavy("7"), "7");
  EXPECT_EQ(heavy("0%"), "0");
  EXPECT_EQ(heavy("12.5%"), "125");
  EXPECT_EQ(heavy("33.3333%"), "333"); // rounded down
  EXPECT_EQ(heavy("99.99999%"), "999");
  EXPECT_EQ(heavy("100%"), "1000");
  // The bytes of all heads that the method governs.
  EXPECT_EQ(heavy("6KiB"), "16");
  EXPECT_EQ(heavy("6KiB", "0"), "48");
  EXPECT_EQ(heavy("6KiB", "1-"), "24");
  EXPECT_EQ(heavy("1MiB"), "2730");
  EXPECT_EQ(heavy("1GiB"), "2796202");
  EXPECT_EQ(heavy("999999999GiB"), "loc(\"p.yaml\":1:52): 'heavy' of 'h2o' is '999999999GiB', which is 2796202663870464 "
                                   "tokens in layer 0; legal: an integer from 0 to 1073741823\n");
  for (StringRef none : {"100.1%", "-1%", "1.%", "1 %", "1e1%", "KiB", "1.5MiB", "1 MiB", "1KB", "1kib", "0x1%"})
    EXPECT_NE(heavy(none).find("a share (25%) or bytes (64MiB)"), std::string::npos) << none.str();
  EXPECT_EQ(applyInline(PolicyKind::KV, "h2o:heavy=12.5%,recent=6KiB"),
            applyText("{version: 1, rules: [{kv: {h2o: {heavy: 125, recent: 16}}}]}"));
}

TEST_F(PolicyTest, InlineFormIsTheSameRule) {
  EXPECT_EQ(applyInline(PolicyKind::Attention, "page_topk:page=8,budget=64,group=sum,per_query_head=true"),
            applyText("{version: 1, rules: [{attention: "
                      "{page_topk: {page: 8, budget: 64, group: sum, per_query_head: true}}}]}"));
  EXPECT_EQ(applyInline(PolicyKind::Attention, "2-:page_topk"),
            applyText("{version: 1, rules: [{layers: 2-, attention: {page_topk: {}}}]}"));
  EXPECT_EQ(applyInline(PolicyKind::KV, "0,2-3:h2o:heads=[0,2],heavy=5"),
            applyText("{version: 1, rules: [{layers: '0,2-3', kv: {h2o: {heads: [0, 2], heavy: 5}}}]}"));
  EXPECT_EQ(applyInline(PolicyKind::KV, "all:streaming:heads=1-,window=7"),
            applyText("{version: 1, rules: [{kv: {streaming: {heads: 1-, window: 7}}}]}"));
  EXPECT_EQ(applyInline(PolicyKind::KV, "1:dense"), "");
}

TEST_F(PolicyTest, InlineDiagnosticsHaveColumns) {
  EXPECT_EQ(applyInline(PolicyKind::KV, "2-:h2o:heavvy=5"),
            "loc(\"--kv\":1:8): 'h2o' has no parameter 'heavvy'; did you mean 'heavy'?; legal: 'heavy', 'recent', "
            "'over', 'least', 'heads', 'prefill'\n");
  EXPECT_EQ(applyInline(PolicyKind::Attention, "7:page_topk"),
            "loc(\"--attention\":1:1): there is no layer 7; legal: 0-3\n");
  EXPECT_EQ(applyInline(PolicyKind::Attention, ""),
            "loc(\"--attention\":1:1): no method is named; legal: [layers:]method[:parameter=value,...]\n");
}

TEST_F(PolicyTest, FormatParsesBack) {
  std::mt19937 random(7);
  auto pick = [&](int64_t n) { return static_cast<int64_t>(random() % n); };
  for (int round = 0; round < 200; ++round) {
    std::string text = "version: 1\nrules:\n";
    llvm::raw_string_ostream os(text);
    for (int64_t rule = pick(5); rule >= 0; --rule) {
      int64_t first = pick(6);
      os << "- layers: " << first << "-" << first + pick(6 - first) << "\n";
      if (pick(2))
        os << "  attention: {page_topk: {page: " << 1 + pick(32) << ", per_query_head: " << (pick(2) ? "true" : "false")
           << "}}\n";
      int64_t kv = pick(4);
      if (kv == 0)
        os << "  kv: {dense: {}}\n";
      else if (kv == 1)
        os << "  kv: [{h2o: {heavy: " << pick(99) << "%}}, {h2o: {recent: " << 1 + pick(9) << "KiB}, streaming: {}}]\n";
      else
        os << "  kv: {h2o: {heavy: " << pick(9) << ", heads: " << pick(3) << "}, streaming: {heads: [1]}}\n";
    }
    std::string once = applyText(text, 6);
    ASSERT_EQ(errors, "") << text;
    if (!once.empty()) {
      EXPECT_EQ(applyText(once, 6), once) << text;
    }
  }
}

/// Damaged files end in a diagnostic or a policy, never in a crash.
TEST_F(PolicyTest, DamagedFiles) {
  const std::string whole = "version: 1\nrules:\n  - layers: 1-\n    attention: {page_topk: {page: 16, budget: 64}}\n"
                            "    kv:\n      - h2o:\n          heavy: 3%\n          heads: [0, 1]\n      - h2o: {recent: 64KiB}\n"
                            "  - {layers: 'all', kv: {dense: }}\n";
  const char bytes[] = "{}[]:,-'\"\n \t#&*!|>%@`?\\0a\x80\xff";
  std::mt19937 random(11);
  for (int round = 0; round < 20000; ++round) {
    std::string text = whole;
    for (unsigned edits = 1 + random() % 4; edits != 0; --edits) {
      size_t at = random() % text.size();
      switch (random() % 3) {
      case 0: text[at] = bytes[random() % (sizeof(bytes) - 1)]; break;
      case 1: text.insert(at, 1, bytes[random() % (sizeof(bytes) - 1)]); break;
      case 2: text.erase(at, 1 + random() % 8); break;
      }
      if (text.empty())
        text = " ";
    }
    errors.clear();
    bool parsed = parsePolicy(text, "p.yaml", &context).has_value();
    EXPECT_EQ(parsed, errors.empty()) << text << errors;
  }
}

} // namespace
