//===- CliTest.cpp - sparse-run as a person calls it ----------------------===//

#include "CliTest.h"
#include "SafeTensors.h"

#include <algorithm>
#include <cstring>
#include <sstream>

using namespace sparse::runtime;

namespace {

TEST_F(CliTest, GenerateEqualsTheOracle) {
  toy::Artifact::writeFile(path("ids.txt"), "1 2 3\n4, 5 6 7 8 9 10 11\n");
  Result result = run("generate " + model + " -p " + path("ids.txt") +
                      " -n 12 -t 2 --check --ids-out " + path("new.txt"));
  ASSERT_EQ(result.code, 0) << result.err;
  toy::Oracle oracle(config);
  std::vector<float> logits =
      oracle.logits(oracle.prefill({1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}).back());
  std::string expected;
  for (int i = 0; i < 12; ++i) {
    int32_t best = static_cast<int32_t>(
        std::max_element(logits.begin(), logits.end()) - logits.begin());
    expected += (i ? " " : "") + std::to_string(best);
    logits = oracle.decode(best);
  }
  EXPECT_EQ(result.out, expected + "\n");
  EXPECT_EQ(toy::Artifact::readFile(path("new.txt")), expected + "\n");
  // One line that sums up, on stderr.
  EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1);
  for (const char *part : {"prompt 11 tok ", " | gen 12 tok ", " | KV ",
                           " | pages ", "/layer attended", " | policy dense"})
    EXPECT_NE(result.err.find(part), std::string::npos) << result.err;
}

TEST_F(CliTest, SamplingIsRepeatable) {
  std::string base = "generate " + model + " -p 1,2,3 -n 20 -q ";
  Result a = run(base + "--temperature 100000 --seed 5");
  EXPECT_EQ(a.code, 2) << "out of the range of --temperature";
  a = run(base + "--temperature 1000 --seed 5");
  Result b = run(base + "--temperature 1000 --seed 5");
  Result c = run(base + "--temperature 1000 --seed 6");
  EXPECT_EQ(a.code, 0);
  EXPECT_EQ(a.out, b.out);
  EXPECT_NE(a.out, c.out);
  EXPECT_EQ(a.err, "");
}

TEST_F(CliTest, TopKAndTopP) {
  std::string base = "generate " + model + " -p 1,2,3 -n 1 -q ";
  std::string greedy = run(base).out;
  for (const char *more : {"--top-k 1", "--top-p 0.000001"})
    for (const char *seed : {"1", "2", "3"})
      EXPECT_EQ(
          run(base + "--temperature 1000 --seed " + seed + " " + more).out,
          greedy)
          << more;
  EXPECT_EQ(run(base + "--top-k -1").code, 2);
  EXPECT_EQ(run(base + "--top-p 1.5").code, 2);
}

// The step past the context is refused, whatever was queued; a text that ends
// before it does not notice.
TEST_F(CliTest, GoesToTheEndOfTheContext) {
  std::string prompt = "7";
  for (int i = 1; i < 250; ++i)
    prompt += "," + std::to_string(i % 48);
  std::string base = "generate " + model + " -q -n 20 -p " + prompt;
  Result result = run(base);
  EXPECT_EQ(result.code, 3) << result.err;
  std::istringstream words(result.out);
  std::vector<std::string> tokens;
  for (std::string word; words >> word;)
    tokens.push_back(word);
  ASSERT_EQ(tokens.size(), 7u) << result.out;
  bool isNew = std::find(tokens.begin(), tokens.end() - 1, tokens.back()) ==
               tokens.end() - 1;
  if (isNew) {
    EXPECT_EQ(run(base + " --eos " + tokens.back()).code, 0);
  }
}

TEST_F(CliTest, StopsAfterEos) {
  Result all = run("generate " + model + " -p 1,2,3 -n 5 -q");
  std::string first = all.out.substr(0, all.out.find(' '));
  Result one = run("generate " + model + " -p 1,2,3 -n 5 -q --eos 99," + first);
  EXPECT_EQ(one.out, first + "\n");
}

TEST_F(CliTest, JsonAndReportAgree) {
  Result result = run("generate " + model + " -p 1,2,3 -n 4 --json --report " +
                      path("report.json"));
  ASSERT_EQ(result.code, 0) << result.err;
  Json json = Json::parse(result.out);
  Json report = Json::parse(toy::Artifact::readFile(path("report.json")));
  EXPECT_EQ(json["ids"].size(), 4u);
  EXPECT_EQ(json["ids"], report["ids"]);
  EXPECT_EQ(json["prompt_tokens"], 3);
  EXPECT_EQ(json["decode_steps"], 3);
  EXPECT_EQ(json["cache"]["layers"].size(), 3u);
  EXPECT_GT(json["cache"]["layers"][0]["attended"], 0);
}

TEST_F(CliTest, LogitsOutIsAReference) {
  Result result =
      run("generate " + dense + " -p 9,8,7,6,5,4,3,2,1,0,11,12 -n 9 -q " +
          "--logits-out " + path("ref.safetensors"));
  ASSERT_EQ(result.code, 0) << result.err;
  for (const char *prefill :
       {"", "--prefill 1", "--prefill 8", "--prefill 20"}) {
    result = run("verify " + dense + " --reference " + path("ref.safetensors") +
                 " --atol 0 --rtol 0 " + prefill);
    EXPECT_EQ(result.code, 0) << prefill << result.out << result.err;
    EXPECT_NE(result.out.find("20/20 (100.00%)"), std::string::npos);
    EXPECT_NE(result.out.find("PASS"), std::string::npos);
  }
  result =
      run("verify " + model + " --json --reference " + path("ref.safetensors"));
  EXPECT_EQ(result.code, 1);
  Json json = Json::parse(result.out);
  EXPECT_FALSE(json["passed"]);
  EXPECT_GT(json["max_abs"], 1);
  EXPECT_EQ(json["prefill"], 16);
}

// Each text is the one that its prompt gives alone.
TEST_F(CliTest, SeveralPromptsShareWhatTheyBeginWith) {
  std::string start = "1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17";
  std::vector<std::string> prompts = {start, start + ",20,21", start + ",30",
                                      "9,8,7"};
  std::string base = "generate " + dense + " -n 6", all, alone;
  for (const std::string &prompt : prompts) {
    all += " -p " + prompt;
    alone += run(base + " -q -p " + prompt).out;
  }
  EXPECT_EQ(run(base + " -q" + all).out, alone);
  Result shared = run(base + all + " --prefix-cache 1M");
  EXPECT_EQ(shared.out, alone);
  EXPECT_NE(shared.err.find(" | 16 tok known | "), std::string::npos)
      << shared.err;
  Json json = Json::parse(run(base + all + " --prefix-cache 1M --json").out);
  EXPECT_EQ(json["texts"].size(), 4u);
  EXPECT_EQ(json["texts"][1]["cache"]["prefix_tokens"], 16);
  EXPECT_EQ(json["prefixes"]["lookups"], 4);
  EXPECT_EQ(json["prefixes"]["hits"], 2);
  EXPECT_EQ(json["prefixes"]["tokens"], 32);
  EXPECT_GT(json["prefixes"]["pages"], 0);
  EXPECT_EQ(run(base + all + " --ids-out " + path("ids")).code, 2);
  EXPECT_EQ(run(base + all + " --prefix-cache 5Q").code, 2);
}

TEST_F(CliTest, VerifyMeasuresDifferences) {
  // Two rows; the reference is off by 0.5 at one logit of the second.
  std::vector<int64_t> ids = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
  std::vector<float> logits;
  for (int row = 0; row < 2; ++row) {
    toy::Oracle oracle{toy::Config()};
    auto hidden = oracle.prefill(
        std::vector<int32_t>(ids.begin() + row * 6, ids.begin() + row * 6 + 6));
    for (const auto &h : hidden) {
      std::vector<float> one = oracle.logits(h);
      logits.insert(logits.end(), one.begin(), one.end());
    }
  }
  size_t at = (1 * 6 + 4) * 48 + 7;
  logits[at] += 0.5f;
  auto write = [&] {
    writeSafeTensors(
        path("ref"),
        {{"ids", "I64", {2, 6}, ids.data(), ids.size() * 8},
         {"logits", "F32", {2, 6, 48}, logits.data(), logits.size() * 4}});
  };
  write();
  std::string command =
      "verify " + dense + " --rtol 0 --json -r " + path("ref");
  Result result = run(command + " --atol 0.49");
  EXPECT_EQ(result.code, 1);
  Json json = Json::parse(result.out);
  EXPECT_EQ(json["max_abs"], 0.5);
  EXPECT_NEAR(json["max_rel"].get<double>(), 0.5 / std::fabs(logits[at]), 1e-9);
  EXPECT_EQ(json["beyond_tolerance"], 1);
  EXPECT_EQ(json["positions"], 12);
  EXPECT_EQ(json["prefill"], 2);
  EXPECT_NE(json["worst"].get<std::string>().find("row 1 position 4 token 7"),
            std::string::npos);
  EXPECT_EQ(run(command + " --atol 0.5").code, 0);
  // A logit that is no number never passes.
  logits[3] = NAN;
  write();
  EXPECT_EQ(run(command + " --atol 1000000").code, 1);
}

TEST_F(CliTest, BenchMeasuresAllCombinations) {
  Result result = run("bench " + model + " -p 8,16 -n 4 -d 0,20 -r 3 -o json");
  ASSERT_EQ(result.code, 0) << result.err;
  Json json = Json::parse(result.out);
  ASSERT_EQ(json.size(), 6u);
  std::vector<std::string> labels;
  for (const Json &test : json) {
    labels.push_back(test["test"]);
    EXPECT_EQ(test["samples_ns"].size(), 3u);
    EXPECT_LE(test["min_ts"], test["median_ts"]);
    EXPECT_LE(test["median_ts"], test["max_ts"]);
    EXPECT_EQ(test["cache"]["tokens"], test["n_depth"].get<int>() +
                                           test["n_prompt"].get<int>() +
                                           test["n_gen"].get<int>());
  }
  EXPECT_EQ(labels, (std::vector<std::string>{"pp8", "pp16", "tg4", "pp8 @ d20",
                                              "pp16 @ d20", "tg4 @ d20"}));
  result = run("bench " + dense + " -p 0 -n 4 -d 99 -r 1 --fill --json");
  EXPECT_EQ(result.code, 0) << result.err;
  json = Json::parse(result.out);
  EXPECT_EQ(json[0]["cache"]["tokens"], 103);
  EXPECT_TRUE(json[0]["depth_filled"]);
  EXPECT_EQ(run("bench " + model + " -p 0 -n 4 -d 99 --fill").code, 3);
  result = run("bench " + model + " -p 0 -n 1-4*2 -r 1");
  EXPECT_EQ(result.code, 0);
  for (const char *label : {"| tg1 |", "| tg2 |", "| tg4 |"})
    EXPECT_NE(result.out.find(label), std::string::npos) << result.out;
  // A row is printed when it is measured: what fails later does not take it.
  result = run("bench " + model + " -p 0 -n 4 -r 1 -d 0,99999");
  EXPECT_EQ(result.code, 3) << result.err;
  EXPECT_NE(result.out.find("| tg4 |"), std::string::npos) << result.out;
}

TEST_F(CliTest, ExitCodes) {
  EXPECT_EQ(run("").code, 2);
  EXPECT_EQ(run("frobnicate").code, 2);
  EXPECT_EQ(run("generate " + model).code, 2);
  EXPECT_EQ(run("generate " + model + " -p 1 --kv-limit 5Q").code, 2);
  EXPECT_EQ(run("bench " + model + " -p 5-1").code, 2);
  EXPECT_EQ(run("bench " + model + " -p 0 -n 0").code, 2);
  EXPECT_EQ(run("generate " + model + " -p 1 --greedy --temperature 1").code,
            2);
  EXPECT_EQ(run("generate " + path("none") + " -p 1").code, 3);
  EXPECT_EQ(run("generate " + model + " -p 48").code, 3);
  EXPECT_EQ(run("generate " + model + " -p " + path("none")).code, 3);
  EXPECT_EQ(run("generate " + model + " -p 1 -n 300").code, 3);
  EXPECT_EQ(run("verify " + model + " -r " + path("none")).code, 3);
  EXPECT_EQ(run("generate " + model + " -p 1 --target other").code, 3);
  EXPECT_EQ(run("generate " + model + " -p 1 --kv-limit 1").code, 4);
  std::string file = model + "/plans/cpu/decode_b1.json";
  std::string text = toy::Artifact::readFile(file);
  text[10] ^= 1;
  toy::Artifact::writeFile(file, text);
  Result result = run("generate " + model + " -p 1 --json");
  EXPECT_EQ(result.code, 3);
  EXPECT_EQ(result.err.rfind("error[DATA_LOSS]: ", 0), 0u) << result.err;
  EXPECT_EQ(Json::parse(result.out)["error"]["code"], "DATA_LOSS");
}

TEST_F(CliTest, HelpTeaches) {
  for (const char *verb :
       {"", "generate", "bench", "verify", "session", "session save",
        "session resume", "session inspect"}) {
    Result result = run(std::string(verb) + " --help");
    EXPECT_EQ(result.code, 0);
    EXPECT_NE(result.out.find("  sparse-run "), std::string::npos) << verb;
  }
  EXPECT_EQ(run("--version").code, 0);
}

TEST_F(CliTest, DevicesThatAreNotThere) {
  Result result = run("generate " + model + " -p 1,2,3 -n 2 --device cuda");
  EXPECT_EQ(result.code, 3);
  EXPECT_NE(result.err.find("error[INCOMPATIBLE]"), std::string::npos)
      << result.err;
  // The list says that the CPU will do.
  Result fallback =
      run("generate " + model + " -p 1,2,3 -n 2 --device cuda,cpu");
  EXPECT_EQ(fallback.code, 0) << fallback.err;
  EXPECT_NE(fallback.err.find("trying the next device"), std::string::npos);
  EXPECT_EQ(fallback.out, run("generate " + model + " -p 1,2,3 -n 2").out);
  toy::Config both;
  both.cuda = true;
  toy::makeArtifact(both).write(path("both.spx"));
  result = run("generate " + path("both.spx") + " -p 1 -n 1 --device cuda:9999");
  EXPECT_EQ(result.code, 4) << result.err;
  EXPECT_NE(result.err.find("error[UNAVAILABLE]"), std::string::npos)
      << result.err;
  result = run("bench " + model + " -p 4 -n 2 -r 1 --json");
  EXPECT_EQ(result.code, 0) << result.err;
  EXPECT_EQ(Json::parse(result.out)[0]["device"], "cpu");
  EXPECT_EQ(run("bench " + model + " --weights random:1").code, 3)
      << "it has weights";
  EXPECT_EQ(run("bench " + model + " --weights noise").code, 3);
}

} // namespace
