/** The `Status` object, in which Kubernetes says that something went wrong. */

const REASONS: Record<number, string> = {
  400: 'BadRequest', 401: 'Unauthorized', 403: 'Forbidden', 404: 'NotFound', 405: 'MethodNotAllowed', 409: 'Conflict',
  410: 'Gone', 429: 'TooManyRequests', 500: 'InternalError', 503: 'ServiceUnavailable', 504: 'Timeout',
}

export interface Status {
  kind: 'Status'
  apiVersion: 'v1'
  metadata: Record<string, never>
  status: 'Success' | 'Failure'
  message: string
  reason: string
  code: number
}

export function status(code: number, reason: string = REASONS[code] ?? 'Unknown', message: string = reason): Status {
  const outcome = code < 400 ? 'Success' : 'Failure'
  return { kind: 'Status', apiVersion: 'v1', metadata: {}, status: outcome, message, reason, code }
}
