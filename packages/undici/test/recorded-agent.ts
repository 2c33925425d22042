// An Agent of either generation that opens no socket.

import type { AgentClass } from '../src/index.ts';

export interface RecordedAgent {
  readonly Agent: AgentClass;
  /** What `dispatch` was given. */
  readonly calls: [options: any, handler: any][];
  /** The options of each Agent that was made, that of the latest pool last. */
  readonly built: any[];
}

/** An Agent that keeps what it is given. Like undici's, it refuses once it is destroyed. */
export function record(generation: 'legacy' | 'modern'): RecordedAgent {
  const calls: RecordedAgent['calls'] = [];
  const built: any[] = [];
  class Agent {
    destroyed = false;
    constructor(options: any) {
      built.push(options);
    }
    dispatch(options: any, handler: any): boolean {
      if (this.destroyed)
        handler[generation === 'legacy' ? 'onError' : 'onResponseError'](new Error('destroyed'));
      else calls.push([options, handler]);
      return true;
    }
    destroy(): Promise<void> {
      this.destroyed = true;
      return Promise.resolve();
    }
    close(): Promise<void> {
      return this.destroy();
    }
    on(): void {}
    webSocketOptions = { maxPayloadSize: 1 };
    eventSourceOptions = { maxEventSize: 2 };
  }
  return { Agent: Agent as unknown as AgentClass, calls, built };
}
