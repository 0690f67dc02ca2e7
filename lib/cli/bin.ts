#!/usr/bin/env node
/** The program `kube-multidialer`: what is of the process, for main.ts. */
import { readFileSync } from 'node:fs'
import { main } from './main.ts'

// Who reads no further ('| head') has read enough.
process.stdout.on('error', () => {})
process.stderr.on('error', () => {})

process.exitCode = await main(process.argv.slice(2), {
  print: (text) => void process.stdout.write(text),
  complain: (text) => void process.stderr.write(text),
  isTerminal: process.stdout.isTTY === true,
  env: process.env,
  readInput: () => readFileSync(0, 'utf8'),
  onSignal: (listener) => {
    process.on('SIGINT', listener).on('SIGTERM', listener)
    return () => process.off('SIGINT', listener).off('SIGTERM', listener)
  },
})
