/** A client of all Bursar services behind one host. Paths, bodies and errors are those of docs/openapi/bursar.json. */
import createFetchClient, { type Client, type ClientOptions, type FetchResponse } from "openapi-fetch";
import type { components, operations, paths } from "./schema.js";

export type { components, operations, paths };

type Errors<Operation extends keyof operations> = NonNullable<
  FetchResponse<operations[Operation], object, `${string}/${string}`>["error"]
>;

/** Every `code` that an operation can answer as an error: `ErrorCode<"list_enrollments">`. */
export type ErrorCode<Operation extends keyof operations> = Errors<Operation>["code"];

/** `token`: the bearer token of the caller; without one, guests' operations only. */
export function createClient({ token, headers, ...options }: ClientOptions & { token?: string }): Client<paths> {
  const authorization = token === undefined ? {} : { Authorization: `Bearer ${token}` };
  return createFetchClient<paths>({ ...options, headers: { ...headers, ...authorization } });
}
