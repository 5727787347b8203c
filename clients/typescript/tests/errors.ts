// Compiled, never run: a switch on the code of an error is complete, or it does not compile.
import type { ErrorCode } from "../src/index.js";

export function complete(code: ErrorCode<"list_programs">): string {
  switch (code) {
    case "internal_error":
      return "Something went wrong.";
    case "unavailable":
      return "Try again in a minute.";
    default:
      return code satisfies never;
  }
}

export function incomplete(code: ErrorCode<"list_programs">): string {
  switch (code) {
    case "unavailable":
      return "Try again in a minute.";
    default:
      // @ts-expect-error: "internal_error" is missing
      return code satisfies never;
  }
}

// @ts-expect-error: not a code of this operation
export const unknown: ErrorCode<"list_programs"> = "unknown_program";
