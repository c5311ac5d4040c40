curl -X POST "http://localhost:8001/workflows" \
  -H "Content-Type: application/json" \
  -d '{
    "name": "示例工作流",
    "description": "这是一个示例工作流",
    "version": "1.0",
    "config": {
      "timeout": 300,
      "retry_count": 3
    },
    "tags": ["demo", "example"]
  }'

curl -X POST "http://localhost:8001/workflows/1/nodes" \
  -H "Content-Type: application/json" \
  -d '{
    "name": "API调用节点",
    "node_type": "API_CALL",
    "config": {
      "api_id": 1,
      "parameters": {"param1": "{{input.value}}"},
      "timeout": 30
    },
    "position_x": 100,
    "position_y": 200,
    "description": "调用用户API"
  }'

curl -X POST "http://localhost:8001/workflows/1/connections" \
  -H "Content-Type: application/json" \
  -d '{
    "from_node_id": 1,
    "to_node_id": 2,
    "connection_type": "SEQUENCE",
    "condition": null,
    "config": {
      "delay": 0
    }
  }'

curl -X POST "http://localhost:8001/workflows/1/execute" \
  -H "Content-Type: application/json" \
  -d '{
    "execution_name": "测试执行",
    "input_data": {
      "value": "test_data",
      "user_id": 123
    },
    "config": {
      "async": true,
      "timeout": 600
    }
  }'

curl "http://localhost:8001/executions/1"

curl -X POST "http://localhost:8001/workflows/1/nodes" \
  -H "Content-Type: application/json" \
  -d '{
    "name": "条件判断",
    "node_type": "CONDITION",
    "config": {
      "condition": "{{input.score}} >= 60",
      "true_path": "通过处理",
      "false_path": "失败处理"
    }
  }'

curl -X POST "http://localhost:8001/workflows/1/connections" \
  -H "Content-Type: application/json" \
  -d '{
    "from_node_id": 2,
    "to_node_id": 3,
    "connection_type": "CONDITIONAL_TRUE"
  }'

curl -X POST "http://localhost:8001/admin/node-types" \
  -H "Content-Type: application/json" \
  -d '{
    "type_name": "CUSTOM_PROCESSOR",
    "description": "自定义数据处理节点",
    "config_schema": {
      "processor_type": "string",
      "parameters": "object"
    },
    "execution_handler": "custom_processor_handler"
  }'

curl "http://localhost:8001/workflows/1/metrics?type=custom"
