//===- Session.cpp - sparse-run session -----------------------------------===//
//
// A session file holds the sequence. Its note holds what the sequence does not:
// the token that was chosen last, which no step has appended, and how tokens
// are chosen. So a text that is saved and resumed any number of times is the
// text that one run gives.
//
//===----------------------------------------------------------------------===//

#include "Common.h"
#include "Json.h"
#include "Progress.h"
#include "Status.h"
#include "TextRun.h"
#include "Verbs.h"

#include <CLI/CLI.hpp>

#include <iostream>
#include <limits>

using namespace sparse;
using namespace sparse::run;

namespace {

struct SessionOptions {
  CommonOptions common;
  TextOptions text;
  std::string session, promptIds, output;
  /// True for an option that was given.
  std::function<bool(const char *)> has;
};

/// Where a text stands.
struct Place {
  int32_t token = -1; ///< chosen last and not appended; -1: none
  bool shown = false; ///< it ended the text, and was printed
  uint64_t index = 0; ///< number of the next token to choose
};

} // namespace

//===----------------------------------------------------------------------===//
// The note
//===----------------------------------------------------------------------===//

static std::string makeNote(const Place &place, const TextOptions &text) {
  return Json({{"sparse-run", 1},
               {"token", place.token},
               {"shown", place.shown},
               {"index", place.index},
               {"temperature", text.temperature},
               {"top_k", text.topK},
               {"top_p", text.topP},
               {"seed", text.seed},
               {"eos", text.eos}})
      .dump();
}

/// Null for bytes that are no JSON.
static Json parseNote(const Session &session) {
  try {
    return runtime::parseJson(session.note(), "the note");
  } catch (const runtime::Error &) {
    return Json();
  }
}

/// Reads a note; options that were not given are those of the session. A
/// session of another program has no place.
static Place readNote(const Session &session, SessionOptions &options) {
  Json note = parseNote(session);
  if (!note.is_object() || !note.contains("sparse-run"))
    return {};
  TextOptions &text = options.text;
  try {
    Place place;
    int64_t token = note.at("token").get<int64_t>();
    if (token < -1 || token > std::numeric_limits<int32_t>::max())
      throw InputError("'" + options.session + "': its note has token " +
                       std::to_string(token));
    place.token = static_cast<int32_t>(token);
    place.shown = note.at("shown").get<bool>();
    place.index = note.at("index").get<uint64_t>();
    if (!options.has("--temperature") && !text.greedy)
      text.temperature = note.at("temperature").get<float>();
    if (!options.has("--top-k"))
      text.topK = note.at("top_k").get<int32_t>();
    if (!options.has("--top-p"))
      text.topP = note.at("top_p").get<float>();
    if (!options.has("--seed"))
      text.seed = note.at("seed").get<uint64_t>();
    if (!options.has("--eos"))
      text.eos = note.at("eos").get<std::vector<int32_t>>();
    return place;
  } catch (const nlohmann::json::exception &error) {
    throw InputError("'" + options.session +
                     "': its note is not one of sparse-run: " + error.what());
  }
}

//===----------------------------------------------------------------------===//
// save and resume
//===----------------------------------------------------------------------===//

/// Prints up to `maxNewTokens` tokens, from `place` on, and leaves `place`
/// where the text then stands.
static void go(const Model &model, Context &context, const Sequence &sequence,
               const SessionOptions &options, Place &place, TextRun &run) {
  const TextOptions &text = options.text;
  Progress progress("token", text.maxNewTokens,
                    options.common.quiet || !options.common.json);
  auto show = [&](int32_t token) {
    run.tokens.push_back(token);
    progress.update(run.tokens.size());
    if (!options.common.json)
      std::cout << (run.tokens.size() > 1 ? " " : "") << token << std::flush;
  };
  Timer timer;
  show(place.token);
  place.shown = isEnd(text, place.token);
  if (!place.shown) {
    // To be saved, one more than is shown: the text goes on with it.
    uint64_t count = text.maxNewTokens - (options.output.empty() ? 1 : 0);
    continueText(model, context, sequence, text, place.index, place.token,
                 count, [&](int32_t token) {
                   ++run.decodeSteps;
                   place.token = token;
                   ++place.index;
                   if (run.tokens.size() == text.maxNewTokens)
                     return;
                   show(token);
                   place.shown = isEnd(text, token);
                 });
  }
  run.decodeSeconds = timer.seconds();
  if (!options.common.json)
    std::cout << std::endl;
}

/// Appends the prompt and chooses the token after it.
static void appendPrompt(const Model &model, Context &context,
                         const Sequence &sequence,
                         const SessionOptions &options, Place &place,
                         TextRun &run) {
  sparse_sampling sampling = samplingOf(options.text);
  std::vector<float> logits(model.info().vocab);
  Timer timer;
  context.prefill(sequence, run.prompt.data(), run.prompt.size(), nullptr,
                  logits.data());
  run.promptSeconds = timer.seconds();
  place.token = sample(logits, sampling, place.index++);
  place.shown = false;
}

static int finish(const Model &model, Context &context,
                  const Sequence &sequence, const SessionOptions &options,
                  const Place &place, TextRun &run) {
  Timer timer;
  if (!options.output.empty())
    sequence.save(options.output, makeNote(place, options.text));
  double seconds = timer.seconds();
  noteCache(run, model, sequence);
  run.threads = context.threads();
  if (options.common.json) {
    Json json = toJson(model, options.text, run);
    if (!options.output.empty())
      json["session"] = {{"path", options.output},
                         {"length", sequence.length()},
                         {"save_seconds", seconds}};
    writeJson("-", json);
  }
  if (!options.common.quiet) {
    std::cerr << summary(model, run);
    if (!options.output.empty())
      std::cerr << " | saved " << sequence.length() << " tok to "
                << options.output << format(" (%.2f s)", seconds);
    std::cerr << std::endl;
  }
  return exitOk;
}

static int save(const SessionOptions &options) {
  samplingOf(options.text);
  TextRun run;
  run.prompt = parseIds(options.promptIds);
  Model model = loadModel(options.common);
  Context context = createContext(model, options.common, 1);
  Sequence sequence = context.create();
  Place place;
  appendPrompt(model, context, sequence, options, place, run);
  if (options.has("--max-new-tokens"))
    go(model, context, sequence, options, place, run);
  return finish(model, context, sequence, options, place, run);
}

static int resume(SessionOptions options) {
  samplingOf(options.text);
  TextRun run;
  if (!options.promptIds.empty())
    run.prompt = parseIds(options.promptIds);
  Session session(options.session);
  Place place = readNote(session, options);
  bool goesOn = place.token >= 0 && !place.shown;
  if (run.prompt.empty() && !goesOn)
    throw InputError("the text of '" + options.session + "' " +
                     (place.shown ? "has ended" : "has no next token") +
                     "; say how it goes on with --prompt-ids");
  Model model = loadModel(options.common);
  Context context = createContext(model, options.common, 1);
  Sequence sequence = context.restore(session);
  if (!run.prompt.empty()) {
    // An end was chosen and is a part of the text; what was not shown is not.
    if (place.shown)
      run.prompt.insert(run.prompt.begin(), place.token);
    appendPrompt(model, context, sequence, options, place, run);
  }
  go(model, context, sequence, options, place, run);
  return finish(model, context, sequence, options, place, run);
}

//===----------------------------------------------------------------------===//
// inspect
//===----------------------------------------------------------------------===//

/// The header with what a person wants to know in place of single heads.
static Json inspection(const std::string &path) {
  Session session(path);
  Json header = Json::parse(session.header());
  Json layers = Json::array();
  size_t next = 0;
  for (const Json &layout : header["layers"]) {
    uint64_t slots = 0, pages = 0, fields = 0, reused = 0;
    uint64_t heads = layout["kv_heads"], page = layout["page"], rows = 0;
    for (const Json &field : layout["fields"])
      (field["per"] == "page" ? fields : rows) +=
          field["bytes"].get<uint64_t>();
    for (uint64_t head = 0; head < heads; ++head, ++next) {
      uint64_t extent = header["heads"].at(next).at(0);
      slots += extent;
      pages += page ? (extent + page - 1) / page : 0;
      reused += header["heads"].at(next).at(1).get<bool>();
    }
    layers.push_back(
        {{"kv_heads", heads},
         {"slots", slots},
         {"pages", pages},
         {"slots_to_reuse", reused},
         {"bytes",
          rows + pages * (fields + layout["page_bytes"].get<uint64_t>())}});
  }
  Json json = {{"path", path}, {"model", header["model"]}};
  for (const char *key :
       {"device", "target", "length", "evicted", "tokens", "note_bytes"})
    json[key] = header[key];
  Json note = parseNote(session);
  if (note.is_object())
    json["note"] = note;
  if (!session.tokens().empty())
    json["ids"] = session.tokens();
  json["layers"] = layers;
  return json;
}

static int inspect(const SessionOptions &options) {
  Json json;
  try {
    json = inspection(options.session);
  } catch (const nlohmann::json::exception &error) {
    throw InputError("'" + options.session +
                     "': its header is not a session's: " + error.what());
  }
  if (options.common.json) {
    writeJson("-", json);
    return exitOk;
  }
  auto text = [&](const Json &value) {
    return value.is_string() ? value.get<std::string>() : value.dump();
  };
  std::cout << "session  " << options.session << ": all bytes match the digest"
            << "\nmodel    " << text(json["model"]["source"]) << ", digest "
            << text(json["model"]["digest"]) << "\npolicy   "
            << policyOnOneLine(text(json["model"]["policy"])) << "\ndevice   "
            << text(json["device"]) << ", saved with code for "
            << text(json["target"]) << "\nlength   " << text(json["length"])
            << " tokens, "
            << (json.contains("ids") ? "all known" : "not known which")
            << (json["evicted"].get<bool>() ? "; some heads have evicted"
                                            : "; nothing was evicted")
            << "\nnote     " << text(json["note_bytes"]) << " bytes\n\n"
            << "layer  heads     slots   pages        bytes\n";
  uint64_t bytes = 0;
  for (size_t i = 0; i < json["layers"].size(); ++i) {
    const Json &layer = json["layers"][i];
    bytes += layer["bytes"].get<uint64_t>();
    std::cout << format("%5zu  %5llu  %8llu  %6llu  %11llu\n", i,
                        layer["kv_heads"].get<unsigned long long>(),
                        layer["slots"].get<unsigned long long>(),
                        layer["pages"].get<unsigned long long>(),
                        layer["bytes"].get<unsigned long long>());
  }
  std::cout << format("  all  %32llu", static_cast<unsigned long long>(bytes))
            << std::endl;
  return exitOk;
}

//===----------------------------------------------------------------------===//
// The command line
//===----------------------------------------------------------------------===//

static void addRun(CLI::App &verb, SessionOptions &options) {
  addTextOptions(verb, options.text);
  options.has = [&verb](const char *name) { return verb.count(name) > 0; };
}

std::function<int()> sparse::run::addSession(CLI::App &app) {
  CLI::App &verb = *app.add_subcommand(
      "session", "Save a text with its KV cache, go on with it, look into it");
  verb.require_subcommand(1);
  verb.footer(
      "A session holds all that a sequence needs to go on: on the same device "
      "with the same model the\ntext is the one that a single run gives, and "
      "no prompt is computed twice. A file that is damaged,\nor of another "
      "model, is refused as a whole.\n\n"
      "  sparse-run session save model.spx -p ids.txt -o chat.session\n"
      "  sparse-run session resume model.spx chat.session -n 64 -o "
      "chat.session\n"
      "  sparse-run session resume model.spx chat.session -p 5,6,7 -n 64\n"
      "  sparse-run session inspect chat.session --json");

  auto saving = std::make_shared<SessionOptions>();
  CLI::App &saveVerb = *verb.add_subcommand(
      "save", "Read a prompt of token ids and save the sequence");
  addCommonOptions(saveVerb, saving->common);
  saveVerb
      .add_option("-p,--prompt-ids", saving->promptIds,
                  "Token ids of the prompt: a file, '-' or a list (1,15,7)")
      ->required();
  saveVerb
      .add_option("-o,--output", saving->output,
                  "The session file; what was there is replaced as a whole")
      ->required();
  addRun(saveVerb, *saving);
  saveVerb.get_option("--max-new-tokens")
      ->description("Generate and print this many tokens first (default 0)");
  saveVerb.footer("  sparse-run session save model.spx -p ids.txt -o "
                  "chat.session\n"
                  "  sparse-run session save model.spx -p 1,15,7 -n 32 "
                  "--temperature 0.8 -o chat.session");

  auto resuming = std::make_shared<SessionOptions>();
  CLI::App &resumeVerb = *verb.add_subcommand(
      "resume", "Go on with a session and print the new ids");
  addCommonOptions(resumeVerb, resuming->common);
  resumeVerb.add_option("session", resuming->session, "The session file")
      ->required();
  resumeVerb.add_option("-p,--prompt-ids", resuming->promptIds,
                        "Append these token ids first: a file, '-' or a list");
  resumeVerb.add_option("-o,--output", resuming->output,
                        "Save the session again, here or in the same file");
  addRun(resumeVerb, *resuming);
  resumeVerb.footer("How tokens are chosen and what ends the text is as it was "
                    "saved, where no option says\notherwise.\n\n"
                    "  sparse-run session resume model.spx chat.session -n 64 "
                    "-o chat.session\n"
                    "  sparse-run session resume model.spx chat.session -p "
                    "5,6,7 -n 64");

  auto inspecting = std::make_shared<SessionOptions>();
  CLI::App &inspectVerb = *verb.add_subcommand(
      "inspect", "Verify a session and show what is in it; needs no model");
  inspectVerb.add_option("session", inspecting->session, "The session file")
      ->required();
  inspectVerb.add_flag("--json", inspecting->common.json,
                       "Machine-readable output");
  inspectVerb.footer("  sparse-run session inspect chat.session");

  return [=, &saveVerb, &resumeVerb] {
    if (saveVerb.parsed())
      return save(*saving);
    if (resumeVerb.parsed())
      return resume(*resuming);
    return inspect(*inspecting);
  };
}
