#include "client/help.h"

namespace torchd {
namespace {

constexpr char kHelp[] = R"(torchctl asks a torchd server.

  torchctl [--address HOST:PORT] [--timeout SECONDS] COMMAND

Commands:
  classify FILE...      label images, or texts with --text
  bench [NAME]          how fast a model runs where it serves
  models [NAME]         which models there are, in which state
  explain-input [NAME]  what a model takes, with a command to try
  plan [NAME]           by which plan each model runs, and why
  status                how the server is doing
  load NAME             loads a model, or tries again what failed
  unload NAME           takes a model out of service (model_control: explicit)
  reload NAME           loads a model anew; the old copy serves until the new one does
  completion SHELL      a script for bash, zsh or fish

Everywhere:
  --address HOST:PORT  the server; default $TORCHCTL_ADDRESS, else 127.0.0.1:8001
  --timeout SECONDS    the longest a call may last, and its deadline; default 60
  --no-retry           tries once. Otherwise what asks or classifies is tried up to four times
                       within the timeout where the server is not ready or has too much to do
  --help               this, or with a command more about it
  --version            of torchctl (before the command)

First steps:
  torchctl models                              what is there?
  torchctl explain-input efficientnet-lite0    what does it want?
  torchctl classify cat.jpg                    what is it?
  torchctl --address 10.0.0.7:8001 status      how is the other one?

Exit code:
  0  all is well
  1  the server answered an error that another try would meet again
  2  wrong usage, such as an unknown flag or a file that cannot be read
  3  the server cannot be reached
  4  not ready, overloaded or out of time: another try may succeed
)";

constexpr char kClassifyHelp[] = R"(torchctl classify [FLAGS] FILE...

Asks a model what the images (JPEG, PNG, WebP) show, most probable class first. A FILE may be

  cat.jpg      a file
  photos       a folder: every .jpg, .jpeg, .png and .webp below it
  'p/*.jpg'    a pattern with *, ? or [, where no file is called so; in quotes, or where the shell
               finds too many
  -            the standard input: one image, or with --text one text

Up to 16 inputs and 32 MiB go in one call, and several calls at once; answers come in the order of
the inputs. On a terminal a line says how far it is.

  --model NAME   which model; may be left out when the server has exactly one
  --version N    which version; default: the highest that is ready
  --version-label LABEL   the version that the model's configuration calls so
  --top-k N      how many classes, 1 to 1000; default 5
  --softmax      probabilities, whatever the model's configuration says
  --no-softmax   the model's own scores instead
  --activation A   what scores become: none, softmax, or sigmoid, where several classes may hold
  --threshold X  leaves out classes whose score is below it; then --top-k is all unless said
  --priority P   who goes first where requests wait: high, normal (default) or low
  --text         the arguments are texts, not files
  --pair TEXT    with --text: the second text of each, as the passage of a question
  --jobs N       calls in flight, 1 to 64; default 4
  --json         for scripts: an array with file, model, version, classes, non_finite and times_us,
                 or error
  --csv          for scripts: a line of headings, then a line for each class, as it comes; of an input
                 without a class one line without a rank
  --address HOST:PORT, --timeout SECONDS, --no-retry   see torchctl --help

Examples:
  torchctl classify cat.jpg
  torchctl classify --model efficientnet-lite0 --top-k 3 *.jpg
  torchctl classify --csv --top-k 1 --jobs 8 ~/photos > photos.csv
  curl -s https://example.org/dog.png | torchctl classify -
  torchctl classify --model sentiment --text "I liked it" "I did not"
  torchctl classify --model entailment --text "It rains." --pair "The street is wet."
  torchctl classify --model scenes --activation sigmoid --threshold 0.4 *.jpg
  torchctl --timeout 0.2 classify --priority high cat.jpg
  torchctl classify --json cat.jpg | jq -r '.[0].classes[0].label'

Exit code: 0 when every input was classified. Each that was not has a line on the standard error, and
the code is 1, or 4 where another try may succeed for all of them; 2 wrong usage, or a file that
cannot be read; 3 the server cannot be reached, or was lost on the way.
)";

constexpr char kBenchHelp[] = R"(torchctl bench [NAME] [FLAGS]

Runs a model on its server's executors, in turns with the rows of clients, and shows what its runs
took: percentiles, a histogram, the first runs, rows per second. The name may be left out when the
server has exactly one model. Ctrl-C ends it.

  --batch N        rows of each run, 1 to 1024; default 1
  --length N       stands for every size that the model leaves open, such as the tokens of a text
  --shape SIZES    the shape of one row, such as 3,224,224; NAME=SIZES where the model has several
                   inputs. A length that one of them gets is that of the others, unless they say
  --warmup N       runs before those that count, 0 to 10000; default 10
  --repeats N      runs that count, 1 to 1000000; default 100
  --duration SECONDS   instead: for so long, 0.001 to 600
  --concurrency N  runs at the same time, each on an executor of its own; default 1
  --plan NAME      saved, frozen, onednn, channels_last, graph, direct, bf16, fp16, int8, package: by
                   this plan, loaded anew for the benchmark alone; default: the one that serves
  --version N      which version; default: the highest that is ready
  --version-label LABEL   the version that the model's configuration calls so
  --json           for scripts: an object with all fields, times in microseconds
  --csv            for scripts: a line of headings, a line of numbers
  --address HOST:PORT, --timeout SECONDS   see torchctl --help; here --timeout is a day unless said

Examples:
  torchctl bench efficientnet-lite0
  torchctl bench sentiment --length 128 --batch 8 --duration 5
  torchctl bench resnet18 --plan onednn --csv
  torchctl bench resnet18 --json | jq .times.p50_us
)";

constexpr char kModelsHelp[] = R"(torchctl models [NAME] [--verbose] [--json] [--names]

Lists every version the server knows, or those of one model: its state, what it takes and, when it
is UNAVAILABLE, why.

  UNKNOWN      found, nothing done about it yet
  LOADING      being read, checked and warmed up
  READY        answers requests
  UNLOADING    finishes what it has
  UNAVAILABLE  not serving; see REASON

  --verbose   beneath each version how its rows wait and run: limits, waits, what becomes of scores
              that are no numbers, and what its runs were measured to take, by the sizes that the
              model leaves open and the number of rows
  --json      for scripts: an array with all fields, those of --verbose under scheduling
  --names     for scripts: each model's name on a line
  --address HOST:PORT, --timeout SECONDS   see torchctl --help

Examples:
  torchctl models
  torchctl models efficientnet-lite0 --verbose
  torchctl models --json | jq '.[] | {name, waiting: .scheduling.rows_waiting}'
)";

constexpr char kExplainHelp[] = R"(torchctl explain-input [NAME] [--version N] [--json]

Says what a model takes and what becomes of it before the model runs: of an image its formats, sizes
and normalisation; of a text its lengths; of tensors their names, types and shapes; and what becomes
of the scores. With a command to try for each. The name may be left out when the server has exactly one model.

  --version N   which version; default: the highest that is ready
  --json        for scripts: an object with takes, inputs, outputs, labels, activation, threshold,
                image and text
  --address HOST:PORT, --timeout SECONDS, --no-retry   see torchctl --help

Examples:
  torchctl explain-input efficientnet-lite0
  torchctl explain-input --json | jq .image.crop
)";

constexpr char kCompletionHelp[] = R"help(torchctl completion SHELL

Prints a script that makes the shell complete commands, flags, files and, while a server answers,
the names of models.

  bash   in ~/.bashrc:                  eval "$(torchctl completion bash)"
  zsh    in ~/.zshrc, after compinit:   eval "$(torchctl completion zsh)"
  fish   in ~/.config/fish/config.fish: torchctl completion fish | source
)help";

constexpr char kPlanHelp[] = R"(torchctl plan [NAME] [--json]

Shows by which plan each READY version runs, why, and how the plans fared that were tried while it
loaded: on how many of an executor's threads, the median time of a run, its ratio to `frozen`, and
the most that an answer differed from the saved model's. Of other versions it shows state and reason.

Compare plans by TO FROZEN. Each ran in turn with `frozen`, but not all of them at the same time: on
a busy machine the milliseconds of one line say little about those of another.

With `plan: fast_start` a version first runs by the default plan while others are tried, and this
says so; `searching` in the JSON.

  timed      it could serve; the fastest does
  wrong      its answers differ too much
  failed     it does not run, or its trial took too long
  forbidden  by the model's configuration
  untried    there was no time left; tried again when the version loads next

  --json   for scripts: as of `torchctl models`, under plan
  --address HOST:PORT, --timeout SECONDS   see torchctl --help

Examples:
  torchctl plan efficientnet-lite0
  torchctl plan --json | jq '.[] | {name, plan: .plan.plan}'

Exit code: 4 where NAME has no version that is READY; else see torchctl --help.
)";

constexpr char kStatusHelp[] = R"(torchctl status [--json]

Shows the server's version, how long it has been up, how many models are ready, how many items it
answered, and what its executors are doing.

  --json   for scripts: an object with all fields
  --address HOST:PORT, --timeout SECONDS   see torchctl --help

Examples:
  torchctl status
  watch -n 1 torchctl status
)";

constexpr char kChangeHelp[] = R"(torchctl load NAME, torchctl unload NAME, torchctl reload NAME

Change what the server serves and show the model's versions once it has nothing more to do. What
serves goes on serving until its successor is ready; a successor that fails changes nothing.

  load     loads the model as the repository has it now, or tries again what failed
  unload   takes it out of service once its last request is answered
  reload   loads anew what serves

With `model_control: fixed` only models that were there at the start can be loaded, and with fixed
or watch none can be unloaded.

  --json   for scripts: as of `torchctl models`
  --address HOST:PORT, --timeout SECONDS   see torchctl --help

Examples:
  torchctl load efficientnet-lite0
  torchctl --timeout 300 reload efficientnet-lite0

Exit code: 1 when the model does not load, with the reason.
)";

}  // namespace

std::string HelpText(Command command) {
  switch (command) {
    case Command::kNone:
      return kHelp;
    case Command::kClassify:
      return kClassifyHelp;
    case Command::kBench:
      return kBenchHelp;
    case Command::kModels:
      return kModelsHelp;
    case Command::kExplainInput:
      return kExplainHelp;
    case Command::kCompletion:
      return kCompletionHelp;
    case Command::kPlan:
      return kPlanHelp;
    case Command::kStatus:
      return kStatusHelp;
    case Command::kLoad:
    case Command::kUnload:
    case Command::kReload:
      return kChangeHelp;
  }
  return kHelp;
}

std::string VersionText() { return "torchctl " TORCHD_VERSION "\n"; }

}  // namespace torchd
