/**
 * The package as it is published, built into a temporary folder: what is measured is what users run, and not TypeScript
 * that a loader has rewritten. The core is published as part of a bundle; here it is also compiled by itself.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { Settings } from '../../lib/core/state.ts'
import type * as OptionsModule from '../../lib/options.ts'
import type * as StepModule from '../../lib/core/step.ts'
import { build, compile } from '../tools/build.ts'

/** The state machine, and its default settings. */
export interface Core {
  readonly step: typeof StepModule.step
  readonly nextDeadline: typeof StepModule.nextDeadline
  readonly initialState: typeof StepModule.initialState
  readonly defaults: Settings
}

const COMPILED = '../compiled'

/** Builds what is published of lib/; the folder is removed when this process ends. */
export async function buildDist(): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), 'kube-multidialer-'))
  process.once('exit', () => rmSync(folder, { recursive: true, force: true }))
  const dist = join(folder, 'dist')
  await build(dist)
  compile(join(dist, COMPILED))
  return dist
}

/** What to import for an entry of it: 'index', 'undici', 'client-node'. */
export function moduleOf(dist: string, name: string): string {
  return pathToFileURL(join(dist, `${name}.js`)).href
}

export async function loadCore(dist: string): Promise<Core> {
  const { step, nextDeadline, initialState }: typeof StepModule = await import(moduleOf(dist, `${COMPILED}/core/step`))
  const { DEFAULTS }: typeof OptionsModule = await import(moduleOf(dist, `${COMPILED}/options`))
  return { step, nextDeadline, initialState, defaults: DEFAULTS }
}
