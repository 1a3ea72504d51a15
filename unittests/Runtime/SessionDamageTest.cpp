//===- SessionDamageTest.cpp - Sessions that were altered -----------------===//

#include "Session.h"

#include "CacheImage.h"
#include "TestUtil.h"
#include "ToyModel.h"

#include <fcntl.h>
#include <fstream>
#include <random>
#include <unistd.h>

using namespace sparse::runtime;
using toy::Artifact;

namespace {

/// A model whose heads evict, with a session of it and a sequence that runs.
class SessionDamage : public testing::Test {
protected:
  SessionDamage()
      : loaded(toy::load(toy::cappedConfig("end"))),
        context(loaded->model, toy::smallOptions()) {
    std::mt19937 random(3);
    std::vector<int32_t> ids(30);
    for (int32_t &id : ids)
      id = static_cast<int32_t>(random() % 48);
    uint32_t saved = context.cache().create();
    context.prefill(saved, ids.data(), ids.size(), nullptr, nullptr);
    // Heads with victims, which a session must bring back.
    for (int i = 0; i < 20; ++i)
      decode(saved, i);
    saveSequence(context, saved, path, std::string(100, 'n'));
    original = Artifact::readFile(path);
    context.cache().destroy(saved);
    running = context.cache().create();
    context.prefill(running, ids.data(), 21, nullptr, nullptr);
    expected = next32();
    before = std::make_unique<toy::CacheImage>(context.cache());
  }
  std::vector<float> decode(uint32_t seq, int32_t id) {
    std::vector<float> logits(48);
    DecodeRow row = {seq, id};
    context.decode(&row, 1, logits.data());
    return logits;
  }
  /// The next 32 tokens of the running sequence, on a fork of it.
  std::vector<int32_t> next32() {
    uint32_t seq = context.cache().fork(running);
    std::vector<int32_t> tokens = {9};
    for (int i = 0; i < 32; ++i) {
      std::vector<float> logits = decode(seq, tokens.back());
      tokens.push_back(static_cast<int32_t>(
          std::max_element(logits.begin(), logits.end()) - logits.begin()));
    }
    context.cache().destroy(seq);
    return tokens;
  }
  Code restore(std::string *message = nullptr) {
    return codeOf(
        [&] {
          SessionFile session(path);
          restoreSequence(context, session);
        },
        message);
  }
  /// Restores what is at `path`, which must be refused without a trace.
  void expectRefused(const std::string &what) {
    Code code = restore();
    ASSERT_TRUE(code == Code::DataLoss || code == Code::InvalidArgument ||
                code == Code::Incompatible)
        << what << ": " << codeName(code);
    ASSERT_TRUE(before->isUnchanged()) << what;
  }
  /// The text with a digest that is right.
  static std::string seal(std::string text) {
    text.resize(text.size() - 64);
    return text + sha256(text.data(), text.size());
  }
  uint32_t headerBytes() const {
    uint32_t bytes;
    std::memcpy(&bytes, original.data() + 12, 4);
    return bytes;
  }
  /// A session with another header, and a digest that is right.
  void writeHeader(const std::string &header) {
    uint32_t bytes = static_cast<uint32_t>(header.size());
    std::string text = original.substr(0, 12) +
                       std::string(reinterpret_cast<char *>(&bytes), 4) +
                       header + original.substr(16 + headerBytes());
    Artifact::writeFile(path, seal(text));
  }

  std::unique_ptr<toy::LoadedModel> loaded;
  Context context;
  toy::TempDir dir;
  std::string path = dir.path() + "/one.session", original;
  uint32_t running = 0;
  std::vector<int32_t> expected;
  std::unique_ptr<toy::CacheImage> before;
};

// R6: every single-bit flip of the first 4 KiB, and 2,000 others.
TEST_F(SessionDamage, R6_EveryBit) {
  ASSERT_GT(original.size(), 4096u + 64);
  int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
  ASSERT_GE(fd, 0);
  auto flip = [&](size_t at, int bit) {
    char byte = static_cast<char>(original[at] ^ (1 << bit));
    ASSERT_EQ(::pwrite(fd, &byte, 1, static_cast<off_t>(at)), 1);
    expectRefused("byte " + std::to_string(at) + " bit " + std::to_string(bit));
    ASSERT_EQ(::pwrite(fd, &original[at], 1, static_cast<off_t>(at)), 1);
  };
  for (size_t at = 0; at < 4096; ++at)
    for (int bit = 0; bit < 8; ++bit)
      ASSERT_NO_FATAL_FAILURE(flip(at, bit));
  EXPECT_EQ(next32(), expected);
  std::mt19937 random(6);
  for (int i = 0; i < 2000; ++i)
    ASSERT_NO_FATAL_FAILURE(
        flip(random() % original.size(), static_cast<int>(random() % 8)));
  ::close(fd);
  EXPECT_EQ(next32(), expected);
  EXPECT_EQ(restore(), Code::Ok) << "and unharmed it is accepted";
}

// R6: cut at every length, and with bytes behind.
TEST_F(SessionDamage, R6_Truncations) {
  std::vector<size_t> lengths;
  for (size_t length = 0; length < original.size(); length += 23)
    lengths.push_back(length);
  for (size_t edge : {size_t(8), size_t(16), 16 + size_t(headerBytes()),
                      original.size() - 64, original.size()})
    for (size_t length : {edge - 1, edge, edge + 1})
      if (length < original.size())
        lengths.push_back(length);
  for (size_t length : lengths) {
    Artifact::writeFile(path, original.substr(0, length));
    ASSERT_NO_FATAL_FAILURE(expectRefused(std::to_string(length) + " bytes"));
    if (length < 64 + 16)
      continue;
    // Cut, and sealed again.
    Artifact::writeFile(path, seal(original.substr(0, length)));
    ASSERT_NO_FATAL_FAILURE(
        expectRefused(std::to_string(length) + " bytes, sealed"));
  }
  for (size_t more : {1, 64, 5000}) {
    Artifact::writeFile(path, original + std::string(more, '\0'));
    ASSERT_NO_FATAL_FAILURE(expectRefused("longer"));
    Artifact::writeFile(path, seal(original + std::string(more, '\0')));
    ASSERT_NO_FATAL_FAILURE(expectRefused("longer, sealed"));
  }
  EXPECT_EQ(next32(), expected);
}

// A digest proves nothing about who computed it: each value of the header is
// checked too.
TEST_F(SessionDamage, ForgedHeaders) {
  Json header = Json::parse(original.substr(16, headerBytes()));
  writeHeader(header.dump());
  ASSERT_EQ(restore(), Code::Ok);
  context.cache().destroy(1);
  before = std::make_unique<toy::CacheImage>(context.cache());
  const Json values[] = {nullptr,
                         true,
                         -1,
                         0,
                         1,
                         7,
                         1000000,
                         int64_t(1) << 40,
                         std::numeric_limits<int64_t>::max(),
                         std::numeric_limits<uint64_t>::max(),
                         0.5,
                         "x",
                         Json::array(),
                         Json::object()};
  int forged = 0;
  for (const toy::Path &at : toy::allPaths(header)) {
    const std::string &last = at.back();
    for (const Json &value : values) {
      Json changed = header;
      if (toy::valueAt(changed, at) == value)
        continue;
      toy::valueAt(changed, at) = value;
      // What only people read, and what only forbids.
      bool free = value.is_string() &&
                  (last == "source" || last == "policy" || last == "target");
      if (free)
        continue;
      writeHeader(changed.dump());
      ++forged;
      ASSERT_NO_FATAL_FAILURE(
          expectRefused(toy::str(at) + " = " + value.dump()));
    }
    Json without = header;
    toy::Path parent(at.begin(), at.end() - 1);
    Json &owner = toy::valueAt(without, parent);
    if (owner.is_object()) {
      owner.erase(last);
      writeHeader(without.dump());
      ASSERT_NO_FATAL_FAILURE(expectRefused(toy::str(at) + " missing"));
    }
  }
  EXPECT_GT(forged, 1000);
  for (const char *text : {"", "[", "null", "{}", "[[[[", "{\"model\": 1}"}) {
    writeHeader(text);
    ASSERT_NO_FATAL_FAILURE(expectRefused(text));
  }
  writeHeader(std::string(200000, '['));
  ASSERT_NO_FATAL_FAILURE(expectRefused("deep"));
  EXPECT_EQ(next32(), expected);
}

// Numbers that kernels take as indices.
TEST_F(SessionDamage, ForgedContent) {
  SessionFile session(path);
  const std::vector<LayerLayout> &layouts = context.cache().layouts();
  size_t at = original.size() - 64 - session.partBytes();
  int forged = 0;
  for (const CachePart &part : partsOf(layouts, session.header().state.heads)) {
    const LayerLayout &layout = layouts[part.layer];
    const std::string &name = layout.components[part.component].name;
    bool index = part.kind == CachePart::Row
                     ? name == "count" || name == "victim"
                     : part.kind == CachePart::Entries && name == "position" &&
                           layout.slotted;
    for (size_t i = 0; index && i < part.bytes; i += 4)
      for (int32_t value : {-2, 50, 1 << 20, INT32_MAX, INT32_MIN}) {
        std::string text = original;
        if (std::memcmp(&text[at + i], &value, 4) == 0)
          continue;
        std::memcpy(&text[at + i], &value, 4);
        Artifact::writeFile(path, seal(text));
        ++forged;
        ASSERT_NO_FATAL_FAILURE(expectRefused(name + " of layer " +
                                              std::to_string(part.layer) +
                                              " = " + std::to_string(value)));
      }
    at += part.bytes;
  }
  EXPECT_GT(forged, 100);
  // Tokens outside the vocabulary.
  for (int32_t value : {-1, 48, INT32_MAX}) {
    std::string text = original;
    std::memcpy(&text[16 + headerBytes() + 8], &value, 4);
    Artifact::writeFile(path, seal(text));
    ASSERT_NO_FATAL_FAILURE(expectRefused("token"));
  }
  EXPECT_EQ(next32(), expected);
}

TEST_F(SessionDamage, AnotherVersion) {
  for (uint32_t version : {0u, 2u, UINT32_MAX}) {
    std::string text = original, message;
    std::memcpy(&text[8], &version, 4);
    Artifact::writeFile(path, seal(text));
    EXPECT_EQ(restore(&message), Code::Incompatible);
    EXPECT_NE(message.find("session version " + std::to_string(version)),
              std::string::npos)
        << message;
    EXPECT_TRUE(before->isUnchanged());
  }
}

// The file changes between its verification and its use.
TEST_F(SessionDamage, ChangedBehindOurBack) {
  SessionFile session(path);
  size_t at = original.size() - 64 - 10;
  std::string text = original;
  text[at] = static_cast<char>(text[at] ^ 1);
  {
    // In place: the same file.
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>(at));
    file.put(text[at]);
  }
  CacheUsage usage = context.cache().usage();
  EXPECT_EQ(codeOf([&] { restoreSequence(context, session); }), Code::DataLoss);
  EXPECT_EQ(context.cache().usage().pages, usage.pages);
  EXPECT_EQ(next32(), expected);
  ASSERT_EQ(::truncate(path.c_str(), 5000), 0);
  EXPECT_EQ(codeOf([&] { restoreSequence(context, session); }), Code::DataLoss);
  EXPECT_EQ(context.cache().usage().pages, usage.pages);
  EXPECT_EQ(next32(), expected);
}

} // namespace
