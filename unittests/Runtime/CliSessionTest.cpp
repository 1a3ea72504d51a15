//===- CliSessionTest.cpp - sparse-run session ----------------------------===//

#include "CliTest.h"

#include <algorithm>
#include <sstream>

using namespace sparse::runtime;

namespace {

class CliSessionTest : public CliTest {
protected:
  std::string session = path("chat.session");

  /// The ids that a command prints.
  std::vector<std::string> idsOf(const std::string &arguments) {
    Result result = run(arguments);
    EXPECT_EQ(result.code, 0) << arguments << "\n" << result.err;
    std::istringstream words(result.out);
    std::vector<std::string> ids;
    for (std::string word; words >> word;)
      ids.push_back(word);
    return ids;
  }
  static std::vector<std::string> join(std::vector<std::string> a,
                                       const std::vector<std::string> &b) {
    a.insert(a.end(), b.begin(), b.end());
    return a;
  }
};

// R17: saved at each of 20 steps and resumed in another process, the text is
// the one of a single run.
TEST_F(CliSessionTest, R17_AcrossProcesses) {
  for (const std::string &where : {model, dense}) {
    std::string base = where + " -p 1,2,3,4,5,6,7,8,9,10,11 -q ";
    std::vector<std::string> whole = idsOf("generate " + base + "-n 30");
    ASSERT_EQ(whole.size(), 30u);
    for (int step = 1; step <= 20; ++step) {
      std::vector<std::string> text =
          idsOf("session save " + base + "-o " + session + " -n " +
                std::to_string(step));
      ASSERT_EQ(text.size(), static_cast<size_t>(step));
      text = join(text, idsOf("session resume " + where + " " + session +
                              " -q --check -n " + std::to_string(30 - step)));
      ASSERT_EQ(text, whole) << "saved after " << step;
    }
  }
}

// One token at a time, through one file, with sampling.
TEST_F(CliSessionTest, ManyTurnsAreOneText) {
  std::string how = " --temperature 1000 --seed 5 --top-k 20 -q ";
  std::vector<std::string> whole =
      idsOf("generate " + model + " -p 1,2,3 -n 12" + how);
  std::vector<std::string> text =
      idsOf("session save " + model + " -p 1,2,3 -o " + session + how);
  EXPECT_TRUE(text.empty()) << "without -n nothing is generated";
  for (int i = 0; i < 12; ++i)
    text = join(text, idsOf("session resume " + model + " " + session +
                            " -q -n 1 -o " + session));
  EXPECT_EQ(text, whole);
  // An option that is given counts.
  std::vector<std::string> greedy =
      idsOf("session resume " + model + " " + session + " -q -n 5 --greedy");
  EXPECT_NE(greedy,
            idsOf("session resume " + model + " " + session + " -q -n 5"));
}

TEST_F(CliSessionTest, GoesOnWithAnotherPrompt) {
  idsOf("session save " + dense + " -p 1,2,3 -o " + session + " -q -n 4");
  std::vector<std::string> text =
      idsOf("generate " + dense + " -p 1,2,3 -q -n 4");
  std::string said = "1,2,3";
  for (const std::string &id : text)
    said += "," + id;
  // What was shown is a part of the text, what was only chosen is not.
  EXPECT_EQ(
      idsOf("session resume " + dense + " " + session + " -q -n 6 -p 7,8,9"),
      idsOf("generate " + dense + " -q -n 6 -p " + said + ",7,8,9"));
}

TEST_F(CliSessionTest, AnEndEndsTheText) {
  std::vector<std::string> text =
      idsOf("generate " + dense + " -p 1,2,3 -q -n 9");
  // The last token that was not there before.
  size_t at = text.size() - 1;
  while (
      std::count(text.begin(), text.begin() + static_cast<long>(at), text[at]))
    --at;
  std::string said = "1,2,3";
  for (size_t i = 0; i <= at; ++i)
    said += "," + text[i];
  std::vector<std::string> saved =
      idsOf("session save " + dense + " -p 1,2,3 -q -n 9 --eos " + text[at] +
            " -o " + session);
  EXPECT_EQ(saved.size(), at + 1);
  Result ended = run("session resume " + dense + " " + session + " -n 3");
  EXPECT_EQ(ended.code, 3);
  EXPECT_NE(ended.err.find("has ended"), std::string::npos) << ended.err;
  // With more to say, the end is a part of the text.
  EXPECT_EQ(
      idsOf("session resume " + dense + " " + session +
            " -q -n 5 -p 7,8 --eos 47"),
      idsOf("generate " + dense + " -q -n 5 --eos 47 -p " + said + ",7,8"));
  // It is an end for the resumed text too.
  idsOf("session save " + dense + " -p 1,2,3 -q --eos " + text[at] + " -o " +
        session);
  EXPECT_EQ(idsOf("session resume " + dense + " " + session + " -q -n 9"),
            saved);
}

TEST_F(CliSessionTest, Inspect) {
  std::string base = "session save " + model + " -p 1,2,3,4,5,6,7,8,9,10,11 ";
  ASSERT_EQ(run(base + "-n 9 -o " + session).code, 0);
  Result result = run("session inspect " + session);
  ASSERT_EQ(result.code, 0) << result.err;
  EXPECT_EQ(result.err, "");
  for (const char *part :
       {"all bytes match the digest", "device   cpu", "length   20 tokens",
        "some heads have evicted", "layer  heads     slots   pages"})
    EXPECT_NE(result.out.find(part), std::string::npos) << result.out;
  result = run("session inspect " + session + " --json");
  ASSERT_EQ(result.code, 0) << result.err;
  Json json = Json::parse(result.out);
  EXPECT_EQ(json["length"], 20);
  EXPECT_EQ(json["ids"].size(), 20u);
  EXPECT_EQ(json["note"]["index"], 10);
  ASSERT_EQ(json["layers"].size(), 3u);
  EXPECT_EQ(json["layers"][0]["slots"], 40);
  EXPECT_EQ(json["layers"][2]["slots"], 7 + 10) << "caps of 6 and 9";
  EXPECT_EQ(json["layers"][2]["slots_to_reuse"], 2);
}

TEST_F(CliSessionTest, SummariesAndReports) {
  Result saved = run("session save " + model + " -p 1,2,3 -n 4 -o " + session);
  EXPECT_EQ(saved.code, 0);
  for (const char *part :
       {"prompt 3 tok ", " | gen 4 tok ", " | saved 7 tok to "})
    EXPECT_NE(saved.err.find(part), std::string::npos) << saved.err;
  Result resumed =
      run("session resume " + model + " " + session + " -n 4 --json");
  ASSERT_EQ(resumed.code, 0) << resumed.err;
  Json json = Json::parse(resumed.out);
  EXPECT_EQ(json["ids"].size(), 4u);
  EXPECT_EQ(json["prompt_tokens"], 0);
  EXPECT_EQ(json["cache"]["tokens"], 10);
}

TEST_F(CliSessionTest, ExitCodes) {
  EXPECT_EQ(run("session").code, 2);
  EXPECT_EQ(run("session frobnicate").code, 2);
  EXPECT_EQ(run("session save " + model + " -p 1").code, 2) << "no -o";
  EXPECT_EQ(run("session resume " + model).code, 2);
  EXPECT_EQ(run("session inspect").code, 2);
  EXPECT_EQ(run("session inspect " + session).code, 3) << "no file";
  EXPECT_EQ(run("session resume " + model + " " + session).code, 3);
  ASSERT_EQ(run("session save " + model + " -p 1,2 -q -o " + session).code, 0);
  EXPECT_EQ(run("session resume " + dense + " " + session).code, 3);
  EXPECT_EQ(
      run("session resume " + model + " " + session + " --kv-limit 1").code, 4);
  EXPECT_EQ(
      run("session save " + model + " -p 1,2 -q -o " + path("no/where")).code,
      3);
  // A directory without room is not at hand; a limit of the process is.
  std::string old = toy::Artifact::readFile(session);
  std::string command = "ulimit -f 1; trap '' XFSZ; " +
                        std::string(SPARSE_RUN) + " session save " + model +
                        " -q -p 9,8,7 -n 99 -o " + session + " >" +
                        path("out") + " 2>" + path("err");
  int status = std::system(("bash -c \"" + command + "\"").c_str());
  EXPECT_EQ(WEXITSTATUS(status), 4) << toy::Artifact::readFile(path("err"));
  EXPECT_EQ(toy::Artifact::readFile(session), old);
  size_t at = old.size() / 2;
  old[at] = static_cast<char>(old[at] ^ 4);
  toy::Artifact::writeFile(session, old);
  Result result = run("session inspect --json " + session);
  EXPECT_EQ(result.code, 3);
  EXPECT_EQ(Json::parse(result.out)["error"]["code"], "DATA_LOSS");
}

} // namespace
