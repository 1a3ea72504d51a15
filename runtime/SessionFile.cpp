//===- SessionFile.cpp - A saved sequence on disk -------------------------===//

#include "SessionFile.h"
#include "Checked.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

using namespace sparse::runtime;

static constexpr char magic[8] = {'S', 'P', 'X', '-', 'S', 'E', 'S', 'S'};
static constexpr uint64_t prefixBytes = 16, digestBytes = 64;
static constexpr uint64_t maxHeader = 64 << 20, maxNote = 16 << 20;
// What the limits of a manifest leave; they keep sums in range.
static constexpr int64_t maxSlots = int64_t(1) << 40;
static constexpr int64_t maxTokens = int64_t(1) << 31;
static constexpr uint64_t blockBytes = 1 << 20;

//===----------------------------------------------------------------------===//
// The header
//===----------------------------------------------------------------------===//

Json sparse::runtime::describeLayouts(const std::vector<LayerLayout> &layouts) {
  Json json = Json::array();
  for (const LayerLayout &layout : layouts) {
    Json fields = Json::array();
    for (size_t i = 0; i < layout.components.size(); ++i) {
      const Component &component = layout.components[i];
      bool paged =
          component.scope == Scope::Slot || component.scope == Scope::Page;
      if (i != layout.table)
        fields.push_back(
            {{"name", component.name},
             {"per", paged ? "page" : "sequence"},
             {"bytes", paged ? Slab::bytesPerPage(component, layout)
                             : component.rowBytes()}});
    }
    json.push_back({{"kv_heads", layout.kvHeads},
                    {"page", layout.page},
                    {"page_bytes", layout.pageBytes},
                    {"key_bytes", layout.keyBytes},
                    {"max_pages", layout.maxPages},
                    {"caps", layout.caps},
                    {"fields", fields}});
  }
  return json;
}

static Json describe(const SessionHeader &header) {
  Json heads = Json::array(), budgets = Json::array();
  bool hasBudgets = false;
  for (const SequenceState::Head &head : header.state.heads) {
    heads.push_back({head.extent, head.victim});
    budgets.push_back(head.budget);
    hasBudgets |= head.budget != 0;
  }
  Json json = {{"model",
                {{"digest", header.model},
                 {"source", header.source},
                 {"policy", header.policy}}},
               {"device", header.device},
               {"target", header.target},
               {"length", header.state.length},
               {"evicted", header.state.evicted},
               {"tokens", header.state.tokens.size()},
               {"note_bytes", header.noteBytes},
               {"heads", heads},
               {"layers", describeLayouts(header.layouts)}};
  if (hasBudgets)
    json["budgets"] = budgets;
  return json;
}

void SessionFile::parseHeader() {
  Json json = parseJson(headerText, file.path);
  JsonRef root(json, file.path);
  JsonRef model = root.at("model");
  head.model = model.getString("digest");
  head.source = model.getString("source");
  head.policy = model.getString("policy");
  head.device = root.getString("device");
  head.target = root.getString("target");
  head.state.length = root.getInt("length", 0, maxTokens);
  head.state.evicted = root.at("evicted").asBool();
  head.noteBytes = root.getInt("note_bytes", 0, static_cast<int64_t>(maxNote));
  int64_t tokens = root.getInt("tokens", 0, maxTokens);
  if (tokens != 0 && static_cast<uint64_t>(tokens) != head.state.length)
    root.at("tokens").fail("expected as many as 'length', or none");
  JsonRef heads = root.at("heads");
  for (size_t i = 0, e = heads.size(); i != e; ++i) {
    JsonRef one = heads.at(i);
    if (one.size() != 2)
      one.fail("expected the extent and whether there is a victim");
    SequenceState::Head &read = head.state.heads.emplace_back();
    read.extent = static_cast<uint64_t>(one.at(size_t(0)).asInt(0, maxSlots));
    read.victim = one.at(1).asBool();
  }
  if (root.has("budgets")) {
    JsonRef budgets = root.at("budgets");
    if (budgets.size() != heads.size())
      budgets.fail("expected as many as 'heads'");
    for (size_t i = 0, e = heads.size(); i != e; ++i)
      head.state.heads[i].budget =
          static_cast<uint64_t>(budgets.at(i).asInt(0, maxSlots));
  }
  layoutsJson = root.at("layers").value;
  uint64_t tokenBytes = static_cast<uint64_t>(tokens) * 4;
  uint64_t begin = prefixBytes + headerText.size();
  partsEnd = file.size - digestBytes;
  if (tokenBytes + head.noteBytes > partsEnd - begin)
    root.fail("the tokens and the note are longer than the file");
  partsBegin = begin + tokenBytes + head.noteBytes;
}

//===----------------------------------------------------------------------===//
// Writing
//===----------------------------------------------------------------------===//

SessionWriter::SessionWriter(const std::string &path,
                             const SessionHeader &header,
                             const std::string &note, const FileCalls &calls)
    : file(path, calls) {
  if (note.size() > maxNote)
    fail(Code::InvalidArgument, "the note has %zu bytes, at most %llu can be",
         note.size(), static_cast<unsigned long long>(maxNote));
  std::string text = describe(header).dump();
  if (text.size() > maxHeader)
    fail(Code::InvalidArgument, "the model has too many layers for a session");
  uint32_t numbers[2] = {sessionVersion, static_cast<uint32_t>(text.size())};
  write(magic, sizeof(magic));
  write(numbers, sizeof(numbers));
  write(text.data(), text.size());
  write(header.state.tokens.data(), header.state.tokens.size() * 4);
  write(note.data(), note.size());
}

void SessionWriter::write(const void *data, size_t bytes) {
  hash.update(data, bytes);
  file.write(data, bytes);
}

void SessionWriter::commit() {
  std::string digest = hash.hex();
  file.write(digest.data(), digest.size());
  file.commit();
}

//===----------------------------------------------------------------------===//
// Reading
//===----------------------------------------------------------------------===//

void SessionFile::read(uint64_t offset, void *out, uint64_t bytes) const {
  uint8_t *to = static_cast<uint8_t *>(out);
  while (bytes > 0) {
    ssize_t got =
        calls.pread(file.fd.get(), to, bytes, static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR)
      continue;
    if (got < 0)
      fail(Code::DataLoss, "cannot read %s: %s", file.path.c_str(),
           std::strerror(errno));
    if (got == 0)
      fail(Code::DataLoss, "%s became shorter while it was read",
           file.path.c_str());
    to += got;
    offset += static_cast<uint64_t>(got);
    bytes -= static_cast<uint64_t>(got);
  }
}

SessionFile::SessionFile(const std::string &path, const FileCalls &calls)
    : file(openFile(path)), calls(calls) {
  char prefix[prefixBytes];
  if (file.size >= prefixBytes)
    read(0, prefix, prefixBytes);
  if (file.size < prefixBytes + digestBytes ||
      std::memcmp(prefix, magic, sizeof(magic)) != 0)
    fail(Code::InvalidArgument,
         "%s is not a session, or only the beginning of one", path.c_str());

  // The digest first: what follows is then at least what somebody wrote.
  Sha256 hash;
  std::vector<uint8_t> block(std::min(blockBytes, file.size));
  uint64_t end = file.size - digestBytes;
  for (uint64_t at = 0; at < end;) {
    uint64_t now = std::min(end - at, blockBytes);
    read(at, block.data(), now);
    hash.update(block.data(), now);
    at += now;
  }
  digest.resize(digestBytes);
  read(end, digest.data(), digestBytes);
  if (hash.hex() != digest)
    fail(Code::DataLoss,
         "%s does not match its digest; the file is incomplete or was altered",
         path.c_str());

  uint32_t numbers[2];
  std::memcpy(numbers, prefix + sizeof(magic), sizeof(numbers));
  if (numbers[0] != sessionVersion)
    fail(Code::Incompatible,
         "%s: session version %u, this library reads version %u", path.c_str(),
         numbers[0], sessionVersion);
  if (numbers[1] > maxHeader || numbers[1] > end - prefixBytes)
    fail(Code::InvalidArgument, "%s: a header of %u bytes", path.c_str(),
         numbers[1]);
  headerText.resize(numbers[1]);
  read(prefixBytes, headerText.data(), headerText.size());
  parseHeader();
  front.resize(partsBegin);
  read(0, front.data(), front.size());
  if (std::memcmp(front.data(), prefix, prefixBytes) != 0 ||
      front.compare(prefixBytes, headerText.size(), headerText) != 0)
    fail(Code::DataLoss, "%s changed while it was read", path.c_str());
  noteBytes = front.substr(partsBegin - head.noteBytes);
  uint64_t tokenBegin = prefixBytes + headerText.size();
  head.state.tokens.resize((partsBegin - head.noteBytes - tokenBegin) / 4);
  if (!head.state.tokens.empty())
    std::memcpy(head.state.tokens.data(), front.data() + tokenBegin,
                head.state.tokens.size() * 4);
}

SessionFile::Parts::Parts(const SessionFile &session)
    : session(session), at(session.partsBegin) {
  hash.update(session.front.data(), session.front.size());
}

void SessionFile::Parts::next(void *out, uint64_t bytes) {
  if (bytes > session.partsEnd - at)
    fail(Code::InvalidArgument, "%s has fewer bytes than its state needs",
         session.path().c_str());
  session.read(at, out, bytes);
  hash.update(out, bytes);
  at += bytes;
}

void SessionFile::Parts::finish() {
  if (at != session.partsEnd || hash.hex() != session.digest)
    fail(Code::DataLoss, "%s changed while it was read",
         session.path().c_str());
}
