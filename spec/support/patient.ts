/**
 * For a spec file that computes much and asserts nothing about time: whatever asserts how long things take, and runs
 * beside it, goes first.
 */
import { constants, setPriority } from 'node:os'

setPriority(constants.priority.PRIORITY_LOW)
