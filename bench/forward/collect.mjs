/** Loaded into a process that is weighed: SIGUSR2 has it collect what nobody needs any more, and say what is left and what is resident. */
process.on('SIGUSR2', () => {
  for (let round = 0; round < 4; round += 1) globalThis.gc?.()
  const { heapUsed, external, rss } = process.memoryUsage()
  console.log(`weighs ${heapUsed + external} resident ${rss}`)
})
